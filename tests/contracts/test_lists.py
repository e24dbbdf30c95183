"""The desk's lists, on every store."""

from __future__ import annotations

import asyncio

import pytest

from casework.authority import Person
from casework.errors import InvalidCommandError, NotAuthorisedError, OutboxFullError
from casework.lists import Effect, ListKey, Subject
from casework.outbox import AUDIT_TOPIC, CONTROL_TOPIC
from tests.casework.examples import AGENT, NOW_MS, SENIOR, SUPERVISOR
from tests.contracts.conftest import Bench
from tests.contracts.test_desk import bodies, drain

KEY = ListKey(Effect.BLOCK, Subject.MERCHANT, "m-skimmed")
DAY_MS = 86_400_000


def test_an_entry_is_kept_told_and_ends(bench: Bench) -> None:
    """Owner, reason and end are kept; the scorer and the audit are told; its time over, it is no longer shown."""
    desk = bench.desk()
    until_ms = NOW_MS + DAY_MS
    entry = bench.run(desk.put_on_list(KEY, SUPERVISOR, "Skimmer found.", until_ms, now_ms=NOW_MS))
    assert (entry.owner, entry.reason, entry.set_ms, entry.until_ms, entry.revision) == (
        SUPERVISOR.name, "Skimmer found.", NOW_MS, until_ms, 1,
    )  # fmt: skip
    assert bench.run(desk.list_entries(now_ms=until_ms - 1)) == [entry]
    assert bench.run(desk.list_entries(now_ms=until_ms)) == []
    entries = bench.run(drain(desk))
    told = {"kind": "list_entry", "effect": "block", "subject": "merchant", "value": "m-skimmed", "until_ms": until_ms}
    assert bodies(entries, CONTROL_TOPIC) == [told]
    assert [body["owner"] for body in bodies(entries, AUDIT_TOPIC)] == [SUPERVISOR.name]
    assert {item.key for item in entries} == {"list:block:merchant:m-skimmed"}


def test_the_same_again_changes_nothing_and_taking_off_is_told(bench: Bench) -> None:
    """A change that is sent twice is one; one that is taken off is told with no time left."""
    desk = bench.desk()
    for _ in range(2):
        bench.run(desk.put_on_list(KEY, SUPERVISOR, "Skimmer.", NOW_MS + DAY_MS, now_ms=NOW_MS))
    assert len(bodies(bench.run(drain(desk)), CONTROL_TOPIC)) == 1
    gone = bench.run(desk.put_on_list(KEY, SUPERVISOR, "Removed.", 0, now_ms=NOW_MS + 1))
    assert (gone.revision, gone.until_ms) == (2, 0)
    assert [body["until_ms"] for body in bodies(bench.run(drain(desk)), CONTROL_TOPIC)] == [NOW_MS + DAY_MS, 0]
    assert bench.run(desk.list_entries(now_ms=NOW_MS + 2)) == []


@pytest.mark.parametrize("by", [AGENT, SENIOR], ids=str)
def test_only_supervisors_edit(bench: Bench, by: Person) -> None:
    """By the shipped matrix."""
    desk = bench.desk()
    with pytest.raises(NotAuthorisedError):
        bench.run(desk.put_on_list(KEY, by, "Skimmer.", NOW_MS + 1, now_ms=NOW_MS))


def test_what_cannot_stand_on_a_list_is_refused(bench: Bench) -> None:
    """Values, times and reasons out of bounds change nothing."""
    desk = bench.desk()
    country = ListKey(Effect.WATCH, Subject.COUNTRY, "Japan")
    for key, reason, until_ms in (
        (country, "Why", NOW_MS + 1),
        (ListKey(Effect.ALLOW, Subject.DEVICE, " "), "Why", NOW_MS + 1),
        (KEY, "Why", NOW_MS),
        (KEY, "Why", NOW_MS + 500 * DAY_MS),
        (KEY, " ", NOW_MS + 1),
    ):
        with pytest.raises(InvalidCommandError):
            bench.run(desk.put_on_list(key, SUPERVISOR, reason, until_ms, now_ms=NOW_MS))
    assert bench.run(drain(desk)) == []


def test_many_at_once_add_up(bench: Bench) -> None:
    """Changes of one entry at the same time are made one after another, none is lost, each is told."""
    desk = bench.desk()

    async def everybody() -> None:
        await asyncio.gather(
            *(desk.put_on_list(KEY, SUPERVISOR, f"Why {n}", NOW_MS + 100 + n, now_ms=NOW_MS) for n in range(8))
        )

    bench.run(everybody())
    (entry,) = bench.run(desk.list_entries(now_ms=NOW_MS))
    told = bodies(bench.run(drain(desk)), CONTROL_TOPIC)
    assert (entry.revision, len(told)) == (8, 8)
    assert told[-1]["until_ms"] == entry.until_ms


def test_without_room_in_the_outbox_nothing_changes(bench: Bench) -> None:
    """No list changes that the scorer could not be told of."""
    desk = bench.desk(shards=1, outbox_limit=1)
    bench.run(desk.put_on_list(KEY, SUPERVISOR, "Why", NOW_MS + 1, now_ms=NOW_MS))
    other = ListKey(Effect.BLOCK, Subject.MERCHANT, "m-2")
    with pytest.raises(OutboxFullError):
        bench.run(desk.put_on_list(other, SUPERVISOR, "Why", NOW_MS + 1, now_ms=NOW_MS))
    assert [entry.value for entry in bench.run(desk.list_entries(now_ms=NOW_MS))] == ["m-skimmed"]
