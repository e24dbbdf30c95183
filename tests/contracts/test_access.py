"""What every store promises about events of who saw what: kept before the answer, and never at the cost of acting."""

from __future__ import annotations

import pytest

from casework.access import Access
from casework.alerts import Alert
from casework.errors import OutboxFullError
from casework.ids import shard_of_card
from casework.outbox import ACCESS_TOPIC
from tests.casework.examples import NOW_MS, alert
from tests.casework.test_access import ACCESS
from tests.contracts.conftest import Bench


def seen(number: int) -> Access:
    """Ann has looked at a card."""
    return Access(
        by=ACCESS.by, to=ACCESS.to, is_write=False, card_tokens=("card-1",), case_id=None, route=ACCESS.route,
        request_id=f"r{number}", trace_id=None, time_ms=NOW_MS + number,
    )  # fmt: skip


def test_what_was_seen_waits_for_kafka_in_order(bench: Bench) -> None:
    """In the outbox of its card, behind what happened before, exactly as it is told."""
    desk = bench.desk(shards=4)
    bench.run(desk.respond([frozen()], NOW_MS))
    for number in range(3):
        bench.run(desk.tell_access(seen(number)))
    entries = bench.run(desk.read_outbox(shard_of_card("card-1", 4), None, 100))
    told = [message for number in range(3) for message in seen(number).messages()]
    assert [entry.topic for entry in entries[:-3]].count(ACCESS_TOPIC) == 0
    assert [(entry.topic, entry.key, entry.value, entry.headers) for entry in entries[-3:]] == [
        (message.topic, message.key, message.value, message.headers) for message in told
    ]
    assert [entry.time_ms for entry in entries[-3:]] == [NOW_MS, NOW_MS + 1, NOW_MS + 2]


def test_who_looks_cannot_keep_others_from_acting(bench: Bench) -> None:
    """With Kafka away they fill half of an outbox and are refused then; a card is still frozen."""
    desk = bench.desk(shards=1, outbox_limit=10)
    for number in range(5):
        bench.run(desk.tell_access(seen(number)))
    with pytest.raises(OutboxFullError):
        bench.run(desk.tell_access(seen(5)))
    bench.run(desk.respond([frozen()], NOW_MS))
    assert bench.run(desk.card("card-1")).state.wire == "frozen"
    entries = bench.run(desk.read_outbox(0, None, 100))
    bench.run(desk.ack_outbox(0, entries[-1].entry_id))
    bench.run(desk.tell_access(seen(5)))


def frozen() -> Alert:
    """An alert that freezes."""
    return alert("a", card_token="card-1")
