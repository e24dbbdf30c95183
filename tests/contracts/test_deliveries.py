"""The memory of notices and the records of cardholders: every implementation keeps the same promises."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator

import pytest

from casework.adapters.memory_notices import MemoryNotices
from casework.adapters.redis_notices import RedisNotices
from casework.contacts import ContactRecord
from casework.deliveries import MEMORY_MS, Delivery, DeliveryState, PutOff
from casework.notices import Notice
from streams.topics import NOTIFICATIONS, TOPICS_BY_NAME
from tests.casework.examples import NOW_MS
from tests.contracts.conftest import REDIS_KINDS, Run, Servers, connection_to

Book = MemoryNotices | RedisNotices


@pytest.fixture(params=["memory", *(pytest.param(kind, marks=pytest.mark.redis) for kind in REDIS_KINDS)])
def book(request: pytest.FixtureRequest, runner: asyncio.Runner) -> Iterator[Book]:
    if request.param == "memory":
        yield MemoryNotices()
        return
    servers: Servers = request.getfixturevalue("servers")
    made = RedisNotices(connection_to(servers.url(request.param), request.param), f"cardwatch:test-{uuid.uuid4().hex}")
    yield made
    runner.run(made.close())


def delivery(name: str, state: DeliveryState = DeliveryState.SENT, case_id: str | None = "case-1") -> Delivery:
    return Delivery(name, "card_frozen", "sms", "en", "log", state, NOW_MS + int(name[-1]), NOW_MS + 50, case_id)


def later(name: str, due_ms: int) -> PutOff:
    notice = Notice(name, "card-1", "sms", "en", "card_frozen", {"event_time_ms": NOW_MS}, NOW_MS, "case-1")
    return PutOff(notice, due_ms, 1, 17, NOW_MS)


def test_what_became_of_a_notice_is_known_by_its_id_and_by_its_case(book: Book, run: Run) -> None:
    """The last state counts; a case's notices come in the order in which they were asked for."""
    assert run(book.find("n-1")) is None
    assert run(book.of_case("case-1")) == []
    for kept in (delivery("n-2"), delivery("n-1", DeliveryState.PUT_OFF), delivery("n-3", case_id=None)):
        run(book.remember(kept))
    run(book.remember(delivery("n-1")))
    assert run(book.find("n-1")) == delivery("n-1")
    assert run(book.find("n-3")) == delivery("n-3", case_id=None)
    assert run(book.of_case("case-1")) == [delivery("n-1"), delivery("n-2")]


def test_what_is_put_off_comes_when_it_is_due(book: Book, run: Run) -> None:
    """The earliest first, by partition; the same notice again replaces what was; what is settled is gone."""
    for each in (later("n-1", NOW_MS + 20), later("n-2", NOW_MS + 10), later("n-3", NOW_MS + 99)):
        run(book.put_off(3, each))
    run(book.put_off(4, later("n-4", NOW_MS)))
    assert run(book.due(3, NOW_MS, 10)) == []
    assert run(book.due(3, NOW_MS + 20, 10)) == [later("n-2", NOW_MS + 10), later("n-1", NOW_MS + 20)]
    assert run(book.due(3, NOW_MS + 20, 1)) == [later("n-2", NOW_MS + 10)]
    run(book.put_off(3, later("n-2", NOW_MS + 60)))
    run(book.settle(3, "n-1"))
    run(book.settle(3, "n-9"))
    assert run(book.due(3, NOW_MS + 60, 10)) == [later("n-2", NOW_MS + 60)]


def test_a_cardholders_record_is_replaced_as_a_whole(book: Book, run: Run) -> None:
    """What is not said any more is not kept."""
    assert run(book.contact("card-1")) is None
    run(book.put_contact("card-1", ContactRecord("zh", ("email", "sms"), "a@bank.example")))
    run(book.put_contact("card-1", ContactRecord("fil")))
    assert run(book.contact("card-1")) == ContactRecord("fil")


def test_the_memory_is_longer_than_the_topic() -> None:
    """A record that can be read again is never taken for a new one."""
    assert TOPICS_BY_NAME[NOTIFICATIONS].retention_ms < MEMORY_MS
