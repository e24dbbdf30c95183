"""What a card that was replaced leaves to the new one reaches the worker that scores it, once, whoever that is."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from detector.inheritance import HISTORY_COLUMNS, History, history_of
from detector.state import EngineState
from streams.core import UnusableBroadcastError
from streams.histories import decode_history, encode_history
from streams.metrics import StreamMetrics
from streams.score import ScoreRole
from streams.topics import CONTROL, DECISIONS, HISTORIES
from tests.streams.engine_roles import core_of
from tests.streams.kafka_world import World, eventually, running
from tests.streams.sharing_process import new_state
from tests.streams.stand_in import KEY

CARDS = 6
EACH = 5


def history(payments: int = 3) -> History:
    """Payments of 10.00, a minute apart."""
    times = 1_790_000_000_000 + 60_000 * np.arange(payments, dtype=np.int64)
    columns = np.full((HISTORY_COLUMNS, payments), 1_000, dtype=np.uint32)
    return History(times, columns, (3_000, 3 << 32, 5))


def record(times_ms: NDArray[np.int64], columns: NDArray[np.uint32], state: str = "here") -> bytes:
    return encode_history("card-new", History(times_ms, columns, (0, 0, 0)), state)


def test_a_history_arrives_as_it_was_told() -> None:
    """To the bit, with the card that it is for."""
    card_token, told = decode_history(encode_history("card-new", history(), "here"), "here")
    assert card_token == "card-new"
    assert told.usual == history().usual
    assert np.array_equal(told.times_ms, history().times_ms)
    assert np.array_equal(told.columns, history().columns)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (b"", "no history"),
        (b"\x81\xa5state\xa1x", "no history"),
        (record(history().times_ms, history().columns, "elsewhere"), "another fingerprint key or format"),
        (record(history().times_ms[::-1], history().columns), "order of time"),
        (record(history().times_ms, history().columns[:, :2]), "lost some"),
        (record(history().times_ms[:0], history().columns[:, :0]), "no payments"),
    ],
)
def test_what_is_no_history_of_ours_is_refused(value: bytes, what: str) -> None:
    """Before anything has changed; the message says what is wrong with it and repeats nothing of it."""
    with pytest.raises(UnusableBroadcastError, match=what):
        decode_history(value, "here")


def known(states: dict[str, EngineState], card_token: str) -> tuple[str, int]:
    """Which worker knows a card, and how many payments of it; of none "" and 0."""
    for name, state in states.items():
        for partition in state.partitions.values():
            history = history_of(partition, card_token, KEY)
            if history is not None:
                return name, len(history.times_ms)
    return "", 0


@pytest.mark.compiled
@pytest.mark.slow
def test_a_new_card_inherits_from_another_worker(world: World) -> None:
    """The new token's payments come to another worker than the old one's; then one worker has all of them."""
    states = {name: new_state() for name in "ab"}
    cores = {name: core_of(state) for name, state in states.items()}
    paid = 0

    async def pay(card: str, times: int) -> None:
        nonlocal paid
        for number in range(CARDS):
            for _ in range(times):
                world.pay(f"t-{paid}", f"{card}-{number}", 1_000)
                paid += 1
        world.writer.flush()
        await eventually(lambda: len(world.read(DECISIONS)) == paid, f"{paid} decisions")

    async def story() -> None:
        async with AsyncExitStack() as stack:
            stops = {}
            for name, core in cores.items():
                role = ScoreRole(core, world.worker(name), StreamMetrics(CollectorRegistry()))
                stops[name] = await stack.enter_async_context(running(role))
            await eventually(lambda: all(state.partitions for state in states.values()), "both have partitions")
            await pay("old", EACH)
            for number in range(CARDS):
                order = {"kind": "inherit", "card_token": f"old-{number}", "new_card_token": f"new-{number}"}
                world.write(CONTROL, f"inherit:old-{number}", msgspec.json.encode(order))
            world.writer.flush()
            await eventually(lambda: len(world.read(HISTORIES)) == CARDS, "all histories are told")
            new = [f"new-{number}" for number in range(CARDS)]
            await eventually(
                lambda: all(card in core._histories for core in cores.values() for card in new), "and heard"
            )
            await pay("new", 1)
            owners = [[known(states, f"{card}-{number}")[0] for card in ("old", "new")] for number in range(CARDS)]
            assert any(old != new for old, new in owners), owners
            assert [known(states, f"new-{number}")[1] for number in range(CARDS)] == [EACH + 1] * CARDS
            await stops["b"]()
            del states["b"]
            await pay("new", 1)
            assert [known(states, f"new-{number}") for number in range(CARDS)] == [("a", EACH + 2)] * CARDS

    asyncio.run(story())
