"""The courier sends each notice once, says what became of it, and never keeps what it said."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field, replace

import msgspec
import pytest

from casework.adapters.log_sender import LogSender
from casework.adapters.memory_notices import MemoryNotices
from casework.contacts import ContactRecord, check_contact
from casework.courier import Courier, CourierRules
from casework.deliveries import Delivery, DeliveryState
from casework.errors import InvalidCommandError, SendError, StoreUnavailableError
from casework.notices import Message, Messages, Notice, NoticeSender
from casework.verification import code_of
from tests.casework.examples import CODE_KEY, NOW_MS, shipped

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
RULES = CourierRules(urgent={"card_frozen", "verification_code"}, called_about={"card_frozen"})
NOTICE = Notice("notice-1", "card-token-4321", "sms", "en", "card_frozen", {"event_time_ms": NOW_MS}, NOW_MS, "case-1")
CODE = replace(NOTICE, template="verification_code", parameters={"code_nonce": "nonce-of-the-request"})


@dataclass
class Sender:
    """Keeps what it is given; refuses first what it is told to."""

    refusals: list[SendError] = field(default_factory=list)
    sent: list[tuple[Notice, Message]] = field(default_factory=list)
    name: str = "webhook"

    async def send(self, notice: Notice, message: Message, now_ms: int) -> None:
        assert now_ms >= NOW_MS
        if self.refusals:
            raise self.refusals.pop(0)
        self.sent.append((notice, message))


class Forgetful(MemoryNotices):
    """Does not answer when it is to remember."""

    async def remember(self, delivery: Delivery) -> None:
        raise StoreUnavailableError(delivery.notification_id)


def refusal(*, may_pass: bool) -> SendError:
    return SendError("notice-1", "HTTP 503" if may_pass else "HTTP 400", may_pass=may_pass)


def courier(sender: NoticeSender, memory: MemoryNotices, now_ms: int = NOW_MS + 100) -> Courier:
    messages = Messages({locale: shipped(f"messages/{locale}.toml") for locale in ("en", "fil", "zh")}, CODE_KEY)
    return Courier(messages, sender, memory, memory, RULES, lambda: now_ms)


def test_a_notice_is_sent_once() -> None:
    """The second time it is found by its id; what is kept of it is not what it said."""
    sender, memory = Sender(), MemoryNotices()

    async def story() -> None:
        first, is_new = await courier(sender, memory).deliver(NOTICE)
        assert is_new
        assert (first.state, first.attempts, first.sms_segments) == (DeliveryState.SENT, 1, 2)
        assert await courier(sender, memory).deliver(NOTICE) == (first, False)
        assert await memory.of_case("case-1") == [first]

    asyncio.run(story())
    assert len(sender.sent) == 1


def test_a_crash_between_sending_and_remembering_sends_the_very_same_again() -> None:
    """The copy has the id and the words of the first, so that whoever takes it can tell."""
    sender, memory = Sender(), MemoryNotices()

    async def story() -> None:
        with pytest.raises(StoreUnavailableError):
            await courier(sender, Forgetful()).deliver(CODE)
        await courier(sender, memory).deliver(CODE)

    asyncio.run(story())
    assert sender.sent[0] == sender.sent[1]


def test_a_sender_that_is_away_is_asked_later_and_less_and_less_often() -> None:
    """After the last pause the notice is given up; a refusal gives it up at once."""
    rules = CourierRules()

    async def story() -> None:
        for tries, pause_ms in enumerate((*rules.pauses_ms, 0)):
            memory = MemoryNotices()
            became, _ = await courier(Sender([refusal(may_pass=True)]), memory).deliver(NOTICE, tries)
            assert became.detail == "HTTP 503"
            assert became.due_ms == (NOW_MS + 100 + pause_ms if pause_ms else 0)
            assert became.state is (DeliveryState.PUT_OFF if pause_ms else DeliveryState.FAILED)
            assert await memory.find("notice-1") == became
        refused, _ = await courier(Sender([refusal(may_pass=False)]), MemoryNotices()).deliver(NOTICE)
        assert refused.state is DeliveryState.FAILED

    asyncio.run(story())


def test_what_failed_can_be_sent_again() -> None:
    """As an operator does with a dead letter: only what was sent is never sent again."""
    sender, memory = Sender([refusal(may_pass=False)]), MemoryNotices()

    async def story() -> None:
        await courier(sender, memory).deliver(NOTICE)
        again, _ = await courier(sender, memory).deliver(NOTICE)
        assert (again.state, again.attempts) == (DeliveryState.SENT, 2)

    asyncio.run(story())


@pytest.mark.parametrize(("notice", "age_ms"), [(NOTICE, 24 * 60 * MINUTE_MS), (CODE, 10 * MINUTE_MS)])
def test_what_is_of_no_use_any_more_is_not_sent(notice: Notice, age_ms: int) -> None:
    """A code is of use for ten minutes, anything else for a day; it is not put off beyond that either."""
    sender = Sender()
    late, _ = asyncio.run(courier(sender, MemoryNotices(), NOW_MS + age_ms + 1).deliver(notice))
    assert (late.state, late.detail, sender.sent) == (DeliveryState.FAILED, "expired", [])
    away = Sender([refusal(may_pass=True)])
    last, _ = asyncio.run(courier(away, MemoryNotices(), NOW_MS + age_ms - 1).deliver(notice))
    assert last.state is DeliveryState.FAILED


def test_the_cardholders_language_and_channel_win() -> None:
    """What their record does not say follows the playbook."""
    sender, memory = Sender(), MemoryNotices()

    async def story() -> None:
        await memory.put_contact(NOTICE.card_token, ContactRecord("zh", ("email", "sms")))
        await courier(sender, memory).deliver(NOTICE)
        await memory.put_contact(NOTICE.card_token, ContactRecord())
        await courier(sender, memory).deliver(replace(NOTICE, notification_id="notice-2"))

    asyncio.run(story())
    assert [(notice.locale, notice.channel) for notice, _ in sender.sent] == [("zh", "email"), ("en", "sms")]
    assert sender.sent[0][1].title == "您的卡已暂停使用"


def test_a_one_time_code_is_said_and_never_written_down(caplog: pytest.LogCaptureFixture) -> None:
    """Its sender says it; the log, the memory and what is put off hold no code."""
    code = code_of(CODE_KEY, "nonce-of-the-request")
    sender, memory = Sender(), MemoryNotices()
    kept, _ = asyncio.run(courier(sender, memory).deliver(CODE))
    assert code in sender.sent[0][1].text
    assert code.encode() not in msgspec.json.encode(kept)
    with caplog.at_level(logging.DEBUG):
        asyncio.run(courier(LogSender(), MemoryNotices()).deliver(CODE))
    assert "Your code" in caplog.text
    assert code not in caplog.text


def test_a_message_that_is_not_there_is_given_up() -> None:
    """A notice of another version's playbook stops nothing."""
    gone, _ = asyncio.run(courier(Sender(), MemoryNotices()).deliver(replace(NOTICE, template="goodbye")))
    assert (gone.state, gone.detail) == (DeliveryState.FAILED, "no_such_message")


# NOW_MS is 08:53 UTC on 2025-10-09: 16:53 in Manila.
@pytest.mark.parametrize(
    ("quiet", "zone", "wait_minutes"),
    [
        (("22:00", "07:00"), "UTC", None),
        (("08:00", "09:00"), "UTC", 7),
        (("16:00", "07:00"), "Asia/Manila", 14 * 60 + 7),
        (("23:00", "17:00"), "Asia/Manila", 7),
        (("08:00", "08:00"), "UTC", None),
        # The clocks of Berlin go back on 2025-10-26: that night is an hour longer (see the test below).
        (("10:53", "10:54"), "Europe/Berlin", 1),
    ],
)
def test_quiet_hours_wait_and_urgent_notices_do_not(
    quiet: tuple[str, str], zone: str, wait_minutes: int | None
) -> None:
    """In the cardholder's own time, over midnight as well; waiting for their end is no failed try."""
    contact = ContactRecord(time_zone=zone, quiet_from=quiet[0], quiet_until=quiet[1])
    memory, calm = MemoryNotices(), replace(NOTICE, template="card_active")

    async def story() -> None:
        await memory.put_contact(NOTICE.card_token, contact)
        waits, _ = await courier(Sender(), memory, NOW_MS).deliver(calm)
        if wait_minutes is None:
            assert waits.state is DeliveryState.SENT
        else:
            assert (waits.state, waits.detail) == (DeliveryState.PUT_OFF, "quiet_hours")
            minute_begins_ms = NOW_MS // MINUTE_MS * MINUTE_MS
            assert waits.due_ms == minute_begins_ms + wait_minutes * MINUTE_MS
            later, _ = await courier(Sender(), memory, waits.due_ms).deliver(calm)
            assert later.state is DeliveryState.SENT
        urgent, _ = await courier(Sender(), memory).deliver(replace(NOTICE, notification_id="notice-2"))
        assert urgent.state is DeliveryState.SENT

    asyncio.run(story())


def test_quiet_hours_end_when_the_clock_on_the_wall_says_so() -> None:
    """In the night in which the clocks go back they are an hour longer."""
    contact = ContactRecord(time_zone="Europe/Berlin", quiet_from="22:00", quiet_until="07:00")
    ten_in_the_evening_ms = 1_761_422_400_000  # 2025-10-25 20:00 UTC
    assert contact.quiet_end_ms(ten_in_the_evening_ms) == ten_in_the_evening_ms + 10 * HOUR_MS


def test_somebody_calls_after_silence_and_at_once_where_nobody_can_be_told() -> None:
    """About what the playbook names, and only where there is a case that can ask for it."""

    async def due(notice: Notice, *refusals: SendError) -> int:
        delivery, _ = await courier(Sender(list(refusals)), MemoryNotices()).deliver(notice)
        return delivery.call_due_ms

    assert asyncio.run(due(NOTICE)) == NOW_MS + 100 + 15 * MINUTE_MS
    assert asyncio.run(due(NOTICE, refusal(may_pass=False))) == NOW_MS + 100
    assert asyncio.run(due(NOTICE, refusal(may_pass=True))) == 0
    assert asyncio.run(due(replace(NOTICE, case_id=None))) == 0
    assert asyncio.run(due(CODE)) == 0


@pytest.mark.parametrize(
    "contact",
    [ContactRecord(time_zone="Mars/Phobos"), ContactRecord(time_zone="../etc"), ContactRecord(quiet_from="22:00")],
)
def test_a_record_that_cannot_be_used_is_refused(contact: ContactRecord) -> None:
    """Before it is kept."""
    with pytest.raises(InvalidCommandError, match="must be"):
        check_contact(contact)
