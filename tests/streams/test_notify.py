"""The notify role on Kafka: each notice once, whatever fails on the way; what cannot be sent is put aside."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field, replace

from prometheus_client import CollectorRegistry

from casework.adapters.memory_notices import MemoryNotices
from casework.courier import Courier, CourierRules
from casework.deliveries import Delivery, DeliveryState
from casework.errors import SendError, StoreUnavailableError
from casework.notices import Message, Messages, Notice
from casework.records import notice_draft
from casework.verification import code_of
from streams.clock import epoch_ms
from streams.dead_letter_box import open_box, sent_again
from streams.metrics import StreamMetrics
from streams.notify import NotifyRole
from streams.topics import DEAD_LETTERS, NOTIFICATIONS
from tests.casework.examples import CODE_KEY, shipped
from tests.streams.kafka_world import World, eventually, running


@dataclass
class Sender:
    """Keeps what it is given; is away for as many notices as it is told, and refuses those of one card for ever."""

    away: int = 0
    refused: str = "card-refused"
    sent: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    name: str = "webhook"

    async def send(self, notice: Notice, message: Message, now_ms: int) -> None:
        assert now_ms
        if notice.card_token == self.refused:
            raise SendError(notice.notification_id, "HTTP 400", may_pass=False)
        if notice.card_token == "card-poison":
            raise RuntimeError(message.text)
        if self.away:
            self.away -= 1
            raise SendError(notice.notification_id, "HTTP 503", may_pass=True)
        self.sent.append(notice.notification_id)
        self.texts.append(message.text)


class Memory(MemoryNotices):
    """Does not answer at first."""

    failures_left = 3

    async def find(self, notification_id: str) -> Delivery | None:
        if self.failures_left:
            self.failures_left -= 1
            raise StoreUnavailableError(notification_id)
        return await super().find(notification_id)


def notice(name: str, card: str = "card-a", template: str = "card_active") -> Notice:
    parameters: dict[str, str | int] = {"code_nonce": f"nonce-of-{name}-0123"} if "code" in template else {}
    return Notice(name, card, "sms", "en", template, parameters, epoch_ms(), "case-1")


def ask(world: World, asked: Notice) -> None:
    body = {name: value for name, value in notice_draft(asked).body.items() if value is not None}
    world.write(NOTIFICATIONS, asked.card_token, json.dumps(body).encode())


@dataclass
class Desk:
    """Notes who is to be called; some were heard."""

    heard: tuple[str, ...] = ()
    calls: list[str] = field(default_factory=list)

    async def call_due(self, case_id: str, notification_id: str, note: str, *, since_ms: int, now_ms: int) -> bool:
        assert (case_id, note) == ("case-1", "card_frozen")
        assert since_ms <= now_ms
        if notification_id in self.heard:
            return False
        self.calls.append(notification_id)
        return True


def role(
    world: World, sender: Sender, memory: MemoryNotices, registry: CollectorRegistry, desk: Desk | None = None
) -> NotifyRole:
    messages = Messages({locale: shipped(f"messages/{locale}.toml") for locale in ("en", "fil", "zh")}, CODE_KEY)
    rules = CourierRules(pauses_ms=(200,) * 5, called_about={"card_frozen"}, silence_ms=500)
    courier = Courier(messages, sender, memory, memory, rules, epoch_ms)
    return NotifyRole(courier, desk or Desk(), memory, world.settings, StreamMetrics(registry))


def test_every_notice_is_sent_once_and_those_of_a_card_in_order(world: World) -> None:
    """A memory and a sender that are away are waited for; copies are dropped; the rest is put aside."""
    sender, memory, registry = Sender(away=3), Memory(), CollectorRegistry()
    wanted = [notice(f"n-{number}", f"card-{number % 5}") for number in range(20)]

    async def story() -> None:
        for asked in wanted:
            ask(world, asked)
            ask(world, asked)
        ask(world, notice("n-refused", "card-refused"))
        ask(world, notice("n-poison", "card-poison", "verification_code"))
        world.write(NOTIFICATIONS, "card-1", b"no notice, but card 4111111111111111")
        world.writer.flush()
        async with running(role(world, sender, memory, registry)):
            await eventually(lambda: len(sender.sent) == 20, "20 notices sent")
            await eventually(lambda: len(world.read(DEAD_LETTERS)) == 3, "three dead letters")

    asyncio.run(story())
    assert Counter(sender.sent) == Counter(asked.notification_id for asked in wanted)
    letters = open_box(world.read(DEAD_LETTERS))
    assert Counter((letter.reason, letter.detail) for letter in letters.values()) == {
        ("notice_failed", "HTTP 400"): 1,
        ("notice_failed", "our own code failed on this notice"): 1,
        ("notice_unreadable", "not a notice"): 1,
    }
    code = code_of(CODE_KEY, "nonce-of-n-poison-0123").encode()
    assert not [record for record in world.read(DEAD_LETTERS) if code in (record.value or b"")]
    failed = registry.get_sample_value("cardwatch_notices_total", {"outcome": "failed", "channel": "sms"})
    sent = registry.get_sample_value("cardwatch_notices_total", {"outcome": "sent", "channel": "sms"})
    assert (failed, sent) == (1, 20)


def test_the_next_worker_goes_on_and_a_dead_letter_can_be_sent_again(world: World) -> None:
    """What was sent is not sent again after a graceful stop; an operator's retry is."""
    memory = MemoryNotices()

    async def story() -> None:
        first, second = Sender(refused="card-b"), Sender()
        ask(world, notice("n-1"))
        ask(world, notice("n-2", "card-b"))
        world.writer.flush()
        async with running(role(world, first, memory, CollectorRegistry())):
            await eventually(lambda: first.sent == ["n-1"], "the first notice")
            await eventually(lambda: len(world.read(DEAD_LETTERS)) == 1, "a dead letter")
        (letter,) = open_box(world.read(DEAD_LETTERS)).values()
        again = sent_again(letter)
        world.write(again.topic, "card-b", again.value or b"")
        ask(world, notice("n-3"))
        world.writer.flush()
        async with running(role(world, second, memory, CollectorRegistry())):
            await eventually(lambda: len(second.sent) == 2, "the retried and the third notice")
        assert sorted(second.sent) == ["n-2", "n-3"]
        became = await memory.find("n-2")
        assert became is not None
        assert (became.state, became.attempts) == (DeliveryState.SENT, 2)

    asyncio.run(story())


def test_what_was_put_off_is_sent_by_whoever_owns_its_partition_next(world: World) -> None:
    """It waits in the memory, not in the worker."""
    memory = MemoryNotices()

    async def story() -> None:
        away, back = Sender(away=1), Sender()
        ask(world, notice("n-1"))
        world.writer.flush()
        slow = role(world, away, memory, CollectorRegistry())
        slow._courier._rules = replace(slow._courier._rules, pauses_ms=(3_000,))  # type: ignore[attr-defined]
        async with running(slow):
            await eventually(lambda: away.away == 0, "the sender asked")
            await asyncio.sleep(1.5)
        async with running(role(world, back, memory, CollectorRegistry())):
            await eventually(lambda: back.sent == ["n-1"], "the notice sent later")

    asyncio.run(story())


def test_silence_has_somebody_call_and_an_answer_does_not(world: World) -> None:
    """After an urgent notice was sent, at once where it was refused, and never for one that is not urgent."""
    desk, registry = Desk(heard=("n-heard",)), CollectorRegistry()

    async def story() -> None:
        for name, card in (("n-silent", "card-a"), ("n-heard", "card-b"), ("n-refused", "card-refused")):
            ask(world, notice(name, card, "card_frozen"))
        ask(world, notice("n-calm", "card-c"))
        world.writer.flush()
        async with running(role(world, Sender(), MemoryNotices(), registry, desk)):
            await eventually(lambda: len(desk.calls) == 2, "two calls")
            await asyncio.sleep(2.5)

    asyncio.run(story())
    assert sorted(desk.calls) == ["n-refused", "n-silent"]
    assert registry.get_sample_value("cardwatch_notice_calls_total") == 2
