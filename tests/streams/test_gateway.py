"""The gateway: a caller that waits is told the decision that stands in the log, or makes one stand by its deadline."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.vocabulary import Action, Channel
from streams.card_numbers import CardNumberCheck
from streams.codecs import TransactionCodec
from streams.encoding import Versions
from streams.errors import GatewayError
from streams.events import Outgoing
from streams.gateway import Answer, AnswerKind, Decided, Gateway, Late, Refused, decode_decision
from streams.rejections import Reason
from streams.topics import DECISIONS, TRANSACTIONS

NOW_MS = 1_760_000_000_000
SOON_S, LONG_S = 0.05, 30.0


def payment(transaction: str = "t-1", card: str = "card-a", **fields: Any) -> bytes:
    body = {
        "transaction_id": transaction, "card_token": card, "event_time_ms": NOW_MS, "amount_minor": 100,
        "currency": "EUR", "channel": "pos",
    }  # fmt: skip
    return json.dumps(body | fields).encode()


def decision(offset: int, transaction: str = "t-1", card: str = "card-a", action: str = "ALLOW") -> bytes:
    body = {
        "transaction_id": transaction, "card_token": card, "event_time_ms": NOW_MS, "action": action, "score": 0.25,
        "anomaly": 0.5, "reasons": [], "rules": [], "expected_loss_minor": 7, "model_version": "m-7",
        "policy_version": "p", "rates_version": "r", "flags": [], "evidence": [{"code": "secret"}],
        "source": {"topic": TRANSACTIONS, "partition": 3, "offset": offset},
    }  # fmt: skip
    return json.dumps(body).encode()


@dataclass
class Log:
    """Kafka as the test wants it: what is sent is kept; acknowledged and read back where that is switched on."""

    gateway: Gateway
    acknowledges: bool = True
    reads_back: bool = True
    sent: list[Outgoing] = field(default_factory=list)
    late_sent: asyncio.Event = field(default_factory=asyncio.Event)
    acknowledge: list[Callable[[int, int], None]] = field(default_factory=list)

    def send(self, record: Outgoing, on_known: Callable[[int, int], None] | None = None) -> None:
        self.sent.append(record)
        if on_known is not None:
            self.acknowledge.append(on_known)
            if self.acknowledges:
                asyncio.get_running_loop().call_soon(on_known, 3, len(self.sent) - 1)
        if record.topic == DECISIONS:
            self.late_sent.set()
            if self.reads_back:
                self.decide(record.value or b"")

    def decide(self, value: bytes) -> None:
        asyncio.get_running_loop().call_soon(self.gateway.seen, [decode_decision(value)])

    def of(self, topic: str) -> list[dict[str, Any]]:
        return [json.loads(record.value or b"") for record in self.sent if record.topic == topic]


def gateway(counted: Counter[AnswerKind] | None = None, **settings_: Any) -> Gateway:
    counts = Counter() if counted is None else counted

    def late(channel: int, amount_minor: int, currency: str) -> Action:
        return Action.ALLOW if (channel, currency) == (Channel.POS, "EUR") and amount_minor <= 500 else Action.DECLINE

    codec = TransactionCodec(CardNumberCheck(), 300_000)
    return Gateway(codec, Late(late, Versions("", "p-1", "r-1", ())), lambda kind: counts.update([kind]), **settings_)


async def ask(made: Gateway, log: Log, *payments: bytes, deadline_s: float = LONG_S) -> list[Answer]:
    return await made.decide(payments, log, now_ms=NOW_MS, deadline_s=deadline_s, traceparent=b"00-trace")


def test_the_decision_in_the_log_is_the_answer() -> None:
    """The payment goes out whole, keyed by card and traced; the answer is its decision without the evidence."""

    async def story() -> None:
        counted: Counter[AnswerKind] = Counter()
        made = gateway(counted)
        log = Log(made)
        asked = asyncio.create_task(ask(made, log, payment()))
        await asyncio.sleep(0)
        (record,) = log.sent
        assert (record.topic, record.partition, record.key, record.value) == (
            TRANSACTIONS, None, b"card-a", payment(),
        )  # fmt: skip
        assert dict(record.headers)["traceparent"] == b"00-trace"
        assert made.wants(b"card-a")
        log.decide(decision(9, "another"))
        log.decide(decision(0, action="FREEZE"))
        (answer,) = await asked
        assert isinstance(answer, Decided)
        assert answer.kind is AnswerKind.SCORED
        assert (answer.fields["action"], answer.fields["score"]) == ("FREEZE", 0.25)
        assert "evidence" not in answer.fields
        assert not made.wants(b"card-a")
        assert counted == {AnswerKind.SCORED: 1}

    asyncio.run(story())


def test_callers_of_one_payment_share_its_record() -> None:
    """The same identity asked for twice at once is sent once, and both are told the same."""

    async def story() -> None:
        made = gateway()
        log = Log(made)
        first = asyncio.create_task(ask(made, log, payment(), payment()))
        second = asyncio.create_task(ask(made, log, payment()))
        await asyncio.sleep(0)
        log.decide(decision(0))
        answers = [*await first, *await second]
        assert len(answers) == 3
        assert answers[0] == answers[1] == answers[2]
        assert len(log.sent) == 1

    asyncio.run(story())


@pytest.mark.parametrize(("amount", "action"), [(500, "ALLOW"), (501, "DECLINE")])
def test_what_is_told_at_the_deadline_stands(amount: int, action: str) -> None:
    """Without a decision the policy answers, for the payment's own offset, and the same payment is told the same."""

    async def story() -> None:
        made = gateway()
        log = Log(made)
        (answer,) = await ask(made, log, payment(amount_minor=amount), deadline_s=SOON_S)
        assert isinstance(answer, Decided)
        assert answer.kind is AnswerKind.LATE
        (written,) = log.of(DECISIONS)
        assert log.sent[1].partition == 3
        assert written.items() <= dict(answer.fields).items()
        assert (written["action"], written["flags"], written["reasons"]) == (action, ["degraded"], ["deadline_passed"])
        assert written["source"] == {"topic": TRANSACTIONS, "partition": 3, "offset": 0}
        log.decide(decision(0, action="FREEZE"))
        await asyncio.sleep(0.01)
        assert await ask(made, log, payment(amount_minor=amount)) == [answer]
        assert len(log.of(TRANSACTIONS)) == 1

    asyncio.run(story())


def test_a_decision_that_stands_before_the_late_answer_wins() -> None:
    """The log decides who was first, not the clock: the caller is told the engine's decision."""

    async def story() -> None:
        made = gateway()
        log = Log(made, reads_back=False)
        asked = asyncio.create_task(ask(made, log, payment(), deadline_s=0.4))
        await log.late_sent.wait()
        log.decide(decision(0, action="STEP_UP"))
        log.decide(log.sent[-1].value or b"")
        (answer,) = await asked
        assert isinstance(answer, Decided)
        assert (answer.kind, answer.fields["action"]) == (AnswerKind.SCORED, "STEP_UP")

    asyncio.run(story())


def test_an_answer_that_kafka_has_not_taken_says_so() -> None:
    """Kafka away: the policy answers without a source; when Kafka takes the payment the answer is written after it."""

    async def story() -> None:
        counted: Counter[AnswerKind] = Counter()
        made = gateway(counted)
        log = Log(made, acknowledges=False)
        (answer,) = await ask(made, log, payment(), deadline_s=SOON_S)
        assert isinstance(answer, Decided)
        assert answer.kind is AnswerKind.UNRECORDED
        assert answer.fields["source"] == {"topic": TRANSACTIONS, "partition": -1, "offset": -1}
        assert log.of(DECISIONS) == []
        log.acknowledge[0](3, 17)
        (written,) = log.of(DECISIONS)
        assert (written["source"]["offset"], written["action"]) == (17, answer.fields["action"])
        assert counted == {AnswerKind.UNRECORDED: 1}

    asyncio.run(story())


def test_broken_payments_are_answered_in_their_place() -> None:
    """Of many, each gets its own answer; what breaks the contract never reaches the topic."""

    async def story() -> None:
        made = gateway()
        log = Log(made)
        bodies = [payment("t-1", currency="XXX"), payment("t-2"), payment("t-3", card="4111111111111111"), b"{}"]
        asked = asyncio.create_task(ask(made, log, *bodies))
        await asyncio.sleep(0)
        log.decide(decision(0, "t-2"))
        answers = await asked
        reasons = [answer.reason if isinstance(answer, Refused) else None for answer in answers]
        assert reasons == [Reason.UNKNOWN_CURRENCY, None, Reason.CARD_NUMBER_IN_CLEAR, Reason.MISSING_FIELD]
        assert [sent["transaction_id"] for sent in log.of(TRANSACTIONS)] == ["t-2"]

    asyncio.run(story())


def test_more_than_can_wait_is_refused() -> None:
    """A bound on what is under way: the caller is told to come again, and what came before is still answered."""

    async def story() -> None:
        made = gateway(limit=1)
        log = Log(made)
        first = asyncio.create_task(ask(made, log, payment("t-1")))
        await asyncio.sleep(0)
        with pytest.raises(GatewayError):
            await ask(made, log, payment("t-2"))
        log.decide(decision(0, "t-1"))
        assert isinstance((await first)[0], Decided)
        assert len(log.sent) == 1

    asyncio.run(story())


@given(order=st.permutations(["engine", "late", "other"]), card=st.sampled_from(["card-a", "card-ü"]))
@settings(max_examples=20, deadline=None)
def test_the_first_in_the_log_is_the_answer(order: list[str], card: str) -> None:
    """Whatever the order in which decisions stand in the log, each caller is told the first on its payment."""

    async def story() -> None:
        made = gateway()
        log = Log(made, reads_back=False)
        asked = asyncio.create_task(ask(made, log, payment(card=card), deadline_s=0.2))
        await log.late_sent.wait()
        values = {
            "engine": decision(0, card=card, action="FREEZE"),
            "late": log.sent[-1].value or b"",
            "other": decision(5, "t-9", card=card),
        }
        for name in order:
            log.decide(values[name])
        (answer,) = await asked
        assert isinstance(answer, Decided)
        first = next(name for name in order if name != "other")
        assert answer.kind is (AnswerKind.SCORED if first == "engine" else AnswerKind.LATE)

    asyncio.run(story())
