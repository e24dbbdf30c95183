"""The history role on Kafka: everything once, in order, whoever else reads; and the whole of it again."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import select

from casework.adapters.sql_history.schema import positions
from casework.adapters.sql_history.store import SqlHistory
from casework.cases import CaseEvent
from casework.errors import HistoryUnavailableError
from casework.history import HistoryFilters, Taken
from casework.outbox import messages_of
from casework.records import case_event_draft
from streams.errors import WorkerError
from streams.history import HistoryRole, rebuild
from streams.metrics import StreamMetrics
from streams.topics import CASES
from tests.contracts.test_history import story
from tests.streams.kafka_world import World, eventually, running


def tell(world: World, events: list[CaseEvent]) -> None:
    for event in events:
        (message,) = messages_of(f"{event.case_id}-{event.sequence}", event.time_ms, [case_event_draft(event)], None)
        world.write(CASES, event.card_token, message.value)
    world.writer.flush()


def memory(folder: Path) -> SqlHistory:
    made = SqlHistory(f"sqlite:///{folder}/history.db")
    made.open()
    return made


def role(history: Any, world: World) -> HistoryRole:
    return HistoryRole(history, world.settings, StreamMetrics(CollectorRegistry()))


def cards(history: SqlHistory) -> set[str]:
    return {case.card_token for case in history.find(HistoryFilters(), None, 100).cases}


def closed(history: SqlHistory) -> int:
    return len(history.find(HistoryFilters(is_closed=True), None, 100).cases)


def read_so_far(history: SqlHistory) -> int:
    with history._engine.connect() as connection:
        return sum(connection.execute(select(positions.c.next_offset)).scalars())


def test_the_memory_follows_the_topic(world: World, tmp_path: Path) -> None:
    """What stood there before, what comes, what is no event, and two roles at once: each case once."""
    events = story(count=6)
    history = memory(tmp_path)

    async def play() -> None:
        tell(world, events[:10])
        world.write(CASES, "card-0", b"no event")
        async with running(role(history, world)), running(role(history, world)):
            await eventually(lambda: len(cards(history)) >= 1, "the first cases")
            tell(world, events[10:])
            await eventually(lambda: closed(history) == 6, "all closed cases")

    asyncio.run(play())
    assert cards(history) == {f"card-{number}" for number in range(7)}
    history.close()


def test_a_restart_goes_on_where_it_was(world: World, tmp_path: Path) -> None:
    """Nothing is read twice, nothing left out; what happened is counted by type, for the objective of the queue."""
    events = story(count=3)
    history = memory(tmp_path)
    counted: Counter[str] = Counter()

    async def play(part: list[CaseEvent], wanted: int) -> int:
        registry = CollectorRegistry()
        metrics = StreamMetrics(registry)
        tell(world, part)
        async with running(HistoryRole(history, world.settings, metrics)):
            await eventually(lambda: read_so_far(history) == wanted, "all records")
        for kind in {event.type.value for event in events}:
            value = registry.get_sample_value("cardwatch_case_events_total", {"type": kind})
            counted[kind] += int(value or 0)
        return int(metrics.history_events._value.get())

    assert asyncio.run(play(events[:5], 5)) == 5
    assert asyncio.run(play(events[5:], len(events))) == len(events) - 5
    assert counted == Counter(event.type.value for event in events)
    history.close()


def test_how_soon_people_act_is_shown(world: World, tmp_path: Path) -> None:
    """Urgent cases when they are touched, and those that nobody touches; freezes undone; but nothing of long ago."""
    now_ms = time.time_ns() // 1_000_000
    long_ago = [replace(event, case_id=f"{event.case_id}-then") for event in story(count=2)]
    recent = story(count=3, start_ms=now_ms - 90 * 60_000)
    registry, history = CollectorRegistry(), memory(tmp_path)

    def shown(name: str, **labels: str) -> float:
        return registry.get_sample_value(f"cardwatch_{name}", labels) or 0.0

    async def play() -> None:
        tell(world, [*long_ago, *recent])
        async with running(HistoryRole(history, world.settings, StreamMetrics(registry))):
            await eventually(lambda: shown("urgent_touch_seconds_count") == 3, "those that were touched")
            await eventually(lambda: shown("urgent_untouched_cases", older_than="900.0") == 2, "those that were not")

    asyncio.run(play())
    assert shown("urgent_touch_seconds_bucket", le="60.0") == 3
    assert shown("urgent_untouched_cases", older_than="28800.0") == 1
    assert (shown("freeze_undo_seconds_count"), shown("freeze_undo_seconds_sum")) == (1, 180)
    history.close()


def test_a_database_that_comes_back_is_waited_for(world: World, tmp_path: Path) -> None:
    """The role goes on by itself, and readiness says meanwhile what it waits for."""
    history = memory(tmp_path)
    metrics = StreamMetrics(CollectorRegistry())
    failures, events = iter([True, True]), story(count=1)

    class Away:
        def positions(self, origin: str) -> dict[int, int]:
            return history.positions(origin)

        def apply(self, told: Any) -> Taken:
            if next(failures, False):
                raise HistoryUnavailableError
            return history.apply(told)

        def untouched_since_ms(self) -> list[int]:
            return history.untouched_since_ms()

    async def play() -> None:
        tell(world, events)
        async with running(HistoryRole(Away(), world.settings, metrics)):
            await eventually(lambda: not metrics.vitals.ready().is_good, "it waits")
            await eventually(lambda: closed(history) == 1, "the closed case")

    asyncio.run(play())
    assert next(failures, None) is None
    history.close()


def test_another_cluster_is_refused_and_rebuilt(world: World, tmp_path: Path) -> None:
    """A memory of another topic ends the role with what to do; rebuilding reads everything."""
    events = story(count=2)
    history = memory(tmp_path)
    history.positions("another cluster")
    tell(world, events)

    with pytest.raises(WorkerError, match="cardwatch rebuild history"):
        asyncio.run(asyncio.wait_for(_broken(role(history, world)), 60))
    history.clear()
    said: list[tuple[int, int]] = []
    assert rebuild(history, world.settings, lambda done, whole: said.append((done, whole))) == len(events)
    assert closed(history) == 2
    assert said[-1][1] == len(events)
    history.close()


async def _broken(started: HistoryRole) -> None:
    await started.start()
    try:
        await started.wait_broken()
    finally:
        await started.stop()
