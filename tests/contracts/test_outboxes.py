"""What outboxes promise, on every store: nothing is taken away by reading, and all of it by acknowledging."""

from __future__ import annotations

import contextlib

import pytest

from casework.cards import OutcomeKind
from casework.errors import OutboxFullError
from tests.casework.examples import NOW_MS, alert
from tests.contracts.conftest import Bench


def test_the_outbox_is_read_in_order_and_forgotten_when_acknowledged(bench: Bench) -> None:
    """Reading takes nothing away; acknowledging takes exactly what is behind; the age is that of the oldest left."""
    desk = bench.desk(shards=1)
    bench.run(desk.respond([alert("a")], NOW_MS))
    bench.run(desk.respond([alert("b", card_token="card-2")], NOW_MS + 1_000))
    entries = bench.run(desk.read_outbox(0, None, 100))
    assert bench.run(desk.read_outbox(0, None, 100)) == entries
    assert bench.run(desk.read_outbox(0, entries[2].entry_id, 2)) == entries[3:5]
    assert bench.run(desk.outbox_oldest_ms()) == NOW_MS
    half = len(entries) // 2
    bench.run(desk.ack_outbox(0, entries[half - 1].entry_id))
    assert bench.run(desk.read_outbox(0, None, 100)) == entries[half:]
    assert bench.run(desk.outbox_oldest_ms()) == NOW_MS + 1_000
    bench.run(desk.ack_outbox(0, entries[-1].entry_id))
    assert bench.run(desk.read_outbox(0, None, 100)) == []
    assert bench.run(desk.outbox_oldest_ms()) is None


def test_outboxes_are_read_together(bench: Bench) -> None:
    """What waits in several shards is what each of them holds, from its beginning; empty ones are left out."""
    desk = bench.desk(shards=4)
    for number in range(6):
        bench.run(desk.respond([alert(str(number), card_token=f"card-{number}")], NOW_MS))
    held = {shard: bench.run(desk.read_outbox(shard, None, 100)) for shard in range(4)}
    assert sum(map(bool, held.values())) > 1
    assert bench.run(desk.first_entries(range(4), 100)) == {shard: read for shard, read in held.items() if read}
    some = max(held, key=lambda shard: len(held[shard]))
    assert bench.run(desk.first_entries([some], 2)) == {some: held[some][:2]}
    bench.run(desk.ack_outbox(some, held[some][-1].entry_id))
    assert some not in bench.run(desk.first_entries(range(4), 100))
    assert bench.run(desk.first_entries([], 100)) == {}


def test_a_full_outbox_refuses_alerts_until_the_relay_comes_by(bench: Bench) -> None:
    """Nothing is lost: what was refused is done when asked again."""
    desk = bench.desk(shards=1, outbox_limit=4)
    alerts = [alert(str(place), card_token=f"card-{place}") for place in range(3)]
    with pytest.raises(OutboxFullError):
        bench.run(desk.respond(alerts, NOW_MS))
    entries = bench.run(desk.read_outbox(0, None, 100))
    assert len(entries) == 4
    told = list(entries)
    for _ in range(2):
        bench.run(desk.ack_outbox(0, entries[-1].entry_id))
        with contextlib.suppress(OutboxFullError):
            bench.run(desk.respond(alerts, NOW_MS + 1))
        entries = bench.run(desk.read_outbox(0, None, 100))
        told.extend(entries)
    assert len(told) == 12
    assert [outcome.kind for outcome in bench.run(desk.respond(alerts, NOW_MS + 2))] == [OutcomeKind.FROZEN] * 3
