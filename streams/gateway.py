"""A decision for a caller that waits: put the payment on the topic, read its decision off the topic (ADR 13).

Nothing is scored here. The payment goes the way of all payments, and whoever waits for it is told the first decision on
it that stands in the log. When none has come by the deadline, the policy for that case is written into the log as a
decision of its own, for the payment's source offset. Whichever of the two stands first is the payment's decision, for
the caller as for every other reader; a FREEZE that the engine decides afterwards still freezes the card.

This module is the rules; `streams.gateway_log` is Kafka. All of it runs on one event loop, but for `wants`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from detector.vocabulary import DEADLINE_PASSED, Action
from streams.codecs import TransactionCodec
from streams.encoding import Subject, Versions, encode_late
from streams.errors import GatewayError
from streams.events import TRACE_HEADER, HeaderList, Outgoing, cloud_event
from streams.records import ReadRecord
from streams.rejections import Reason
from streams.topics import TRANSACTIONS

TRANSACTION_TYPE = "cardwatch.transaction.v1"
_SOURCE = "/cardwatch/gateway"
# Of the time that the caller gives, this share is kept for writing down what it is told instead of a decision; on a
# healthy cluster a record is written and read back in a few milliseconds.
_SHARE_KEPT = 0.25
_LONGEST_KEPT_S = 0.1
# A payment that Kafka never acknowledged is waited for no longer than this: its producer has given up by then.
_FORGET_AFTER_S = 60.0

Identity = tuple[str, str]


class AnswerKind(StrEnum):
    """What an answer rests on; the values are labels of a metric."""

    SCORED = "scored"
    LATE = "late"
    UNRECORDED = "unrecorded"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Decided:
    """The decision that a caller is told.

    Attributes:
        kind: SCORED by the engine; LATE by the policy for deadlines, which now stands in the log; UNRECORDED the same,
            but Kafka has not confirmed it in time, so that another may stand.
        fields: the decision as the contract writes it, evidence left out.
    """

    kind: AnswerKind
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Refused:
    """A payment that breaks the contract; it was not put on the topic.

    Attributes:
        reason: the one that a dead letter would give.
        detail: the field at fault.
    """

    reason: Reason
    detail: str


Answer = Decided | Refused


class DecisionRecord(msgspec.Struct):
    """A decision as it is read back; what an agent needs of it and a caller does not is left out."""

    transaction_id: str
    card_token: str
    event_time_ms: int
    action: str
    score: float
    anomaly: float
    reasons: list[str]
    rules: list[str]
    expected_loss_minor: int
    flags: list[str]
    model_version: str
    policy_version: str
    rates_version: str
    source: dict[str, Any]
    alert_id: str | None = None


class GatewayLog(Protocol):
    """Kafka, as the gateway needs it."""

    def send(self, record: Outgoing, on_known: Callable[[int, int], None] | None = None) -> None:
        """Queue a record; `on_known` is called on the event loop with its partition and offset once it is acknowledged.

        Raises:
            GatewayError: it cannot be queued.
        """


@dataclass(frozen=True, slots=True)
class Late:
    """What is told when there is no decision in time.

    Attributes:
        action: from channel code, amount in minor units and currency.
        versions: of policy and rates, for the record.
    """

    action: Callable[[int, int, str], Action]
    versions: Versions


@dataclass(slots=True)
class _Waiting:
    """A payment on its way.

    Attributes:
        since_s: on the loop's clock.
        late_action: what the policy says of it, should it be late.
        answer: the first decision read on it.
        place: partition and offset, once known.
        late: whether its caller was told something else meanwhile.
    """

    identity: Identity
    event_time_ms: int
    since_s: float
    late_action: Action
    answer: asyncio.Future[DecisionRecord]
    place: tuple[int, int] | None = None
    late: bool = False


@dataclass(slots=True)
class Gateway:
    """Waits for decisions.

    Attributes:
        codec: checks payments as the score role does.
        late: the policy for deadlines.
        count: told the kind of every answer.
        limit: payments that may be on their way at once.
        remembered: late answers that are kept, so that the same payment sent again is told the same.
    """

    codec: TransactionCodec
    late: Late
    count: Callable[[AnswerKind], None]
    limit: int = 20_000
    remembered: int = 50_000
    _waiting: OrderedDict[Identity, _Waiting] = field(default_factory=OrderedDict)
    _keys: dict[bytes, int] = field(default_factory=dict)
    _late_answers: OrderedDict[Identity, DecisionRecord] = field(default_factory=OrderedDict)

    def wants(self, key: bytes | None) -> bool:
        """Whether a payment of this record key is waited for; may be asked from any thread."""
        return key in self._keys

    async def decide(
        self,
        payments: Sequence[bytes],
        log: GatewayLog,
        *,
        now_ms: int,
        deadline_s: float,
        traceparent: bytes | None = None,
    ) -> list[Answer]:
        """Put payments on the topic and answer each within the deadline, in their order.

        Args:
            payments: records of `payments.transactions.v1`.
            log: where they go.
            now_ms: the caller's clock, UTC epoch milliseconds.
            deadline_s: how long the caller waits.
            traceparent: trace context to pass on with all of them.

        Raises:
            GatewayError: too many are on their way, or Kafka takes nothing.
        """
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + deadline_s
        self._forget(loop.time())
        answers: dict[int, Answer] = {}
        waiting: dict[int, _Waiting] = {}
        for place, taken in self._accept(payments, now_ms, answers):
            known = self._late_answers.get(taken.identity)
            if known is not None:
                answers[place] = _decided(known)
            else:
                waiting[place] = self._submit(taken, payments[place], log, now_ms, traceparent)
        kept_s = min(deadline_s * _SHARE_KEPT, _LONGEST_KEPT_S)
        await _wait(waiting.values(), ends_s - kept_s - loop.time())
        for payment in {id(payment): payment for payment in waiting.values() if not payment.answer.done()}.values():
            self._answer_late(payment, log, now_ms)
        await _wait(waiting.values(), ends_s - loop.time())
        for place, payment in waiting.items():
            answers[place] = _decided(payment.answer.result()) if payment.answer.done() else self._unrecorded(payment)
        for answer in answers.values():
            self.count(answer.kind if isinstance(answer, Decided) else AnswerKind.REFUSED)
        return [answers[place] for place in range(len(payments))]

    def seen(self, decisions: Iterable[DecisionRecord]) -> None:
        """Take decisions in the order of their log; the first on a payment is its answer."""
        for decision in decisions:
            payment = self._drop((decision.card_token, decision.transaction_id))
            if payment is None:
                continue
            if decision.reasons == [DEADLINE_PASSED]:
                self._late_answers[payment.identity] = decision
                if len(self._late_answers) > self.remembered:
                    self._late_answers.popitem(last=False)
            payment.answer.set_result(decision)

    def _accept(
        self, payments: Sequence[bytes], now_ms: int, answers: dict[int, Answer]
    ) -> Iterable[tuple[int, _Waiting]]:
        """Check payments; those that break the contract are answered at once."""
        records = [ReadRecord(TRANSACTIONS, 0, place, now_ms, None, body, ()) for place, body in enumerate(payments)]
        decoded = self.codec.decode_singly(records, now_ms)
        for refused in decoded.rejected:
            answers[refused.record.offset] = Refused(refused.reason, refused.detail)
        columns = decoded.columns
        loop = asyncio.get_running_loop()
        for row, record in enumerate(decoded.records):
            action = self.late.action(
                int(columns["channel"][row]), int(columns["amount_minor"][row]), columns["currency"][row]
            )
            identity = (columns["card_token"][row], columns["transaction_id"][row])
            event_time_ms = int(columns["event_time_ms"][row])
            yield record.offset, _Waiting(identity, event_time_ms, loop.time(), action, loop.create_future())

    def _submit(
        self, payment: _Waiting, body: bytes, log: GatewayLog, now_ms: int, traceparent: bytes | None
    ) -> _Waiting:
        """Send a payment, unless it is on its way already."""
        under_way = self._waiting.get(payment.identity)
        if under_way is not None:
            return under_way
        if len(self._waiting) >= self.limit:
            message = f"{self.limit} payments wait for their decisions"
            raise GatewayError(message)
        card_token, transaction_id = payment.identity
        key = card_token.encode()
        headers: HeaderList = cloud_event(transaction_id, TRANSACTION_TYPE, _SOURCE, now_ms)
        if traceparent is not None:
            headers.append((TRACE_HEADER, traceparent))

        def on_known(partition: int, offset: int) -> None:
            payment.place = (partition, offset)
            if payment.late and not payment.answer.done():
                self._record_late(payment, log, now_ms)

        # Listened for before it is sent: its decision may be read before its own acknowledgement.
        self._waiting[payment.identity] = payment
        self._keys[key] = self._keys.get(key, 0) + 1
        try:
            log.send(Outgoing(TRANSACTIONS, None, key, body, headers), on_known)
        except GatewayError:
            self._drop(payment.identity)
            raise
        return payment

    def _answer_late(self, payment: _Waiting, log: GatewayLog, now_ms: int) -> None:
        """Write down what the caller is told, as soon as it is known for which offset."""
        if not payment.late:
            payment.late = True
            if payment.place is not None:
                self._record_late(payment, log, now_ms)

    def _record_late(self, payment: _Waiting, log: GatewayLog, now_ms: int) -> None:
        # Where even this is refused, the answer says that it stands nowhere.
        with contextlib.suppress(GatewayError):
            log.send(encode_late(_subject(payment), payment.late_action, self.late.versions, now_ms))

    def _unrecorded(self, payment: _Waiting) -> Decided:
        """What the policy says, without Kafka having confirmed it."""
        record = encode_late(_subject(payment), payment.late_action, self.late.versions, 0)
        return Decided(AnswerKind.UNRECORDED, _fields(decode_decision(record.value or b"")))

    def _drop(self, identity: Identity) -> _Waiting | None:
        """Wait for a payment no longer."""
        payment = self._waiting.pop(identity, None)
        if payment is not None:
            key = identity[0].encode()
            left = self._keys[key] - 1
            if left:
                self._keys[key] = left
            else:
                del self._keys[key]
        return payment

    def _forget(self, now_s: float) -> None:
        """Drop payments that nothing will be heard of any more."""
        while self._waiting:
            oldest = next(iter(self._waiting.values()))
            if oldest.since_s > now_s - _FORGET_AFTER_S:
                return
            self._drop(oldest.identity)


_decoder = msgspec.json.Decoder(DecisionRecord)


def decode_decision(value: bytes) -> DecisionRecord:
    """Read a record of `fraud.decisions.v1`.

    Raises:
        msgspec.DecodeError: it is none of ours.
    """
    return _decoder.decode(value)


def _subject(payment: _Waiting) -> Subject:
    card_token, transaction_id = payment.identity
    # A payment without a place was never acknowledged; -1 is no offset of Kafka's.
    partition, offset = payment.place or (-1, -1)
    return Subject(transaction_id, card_token, payment.event_time_ms, partition, offset)


def _decided(decision: DecisionRecord) -> Decided:
    kind = AnswerKind.LATE if decision.reasons == [DEADLINE_PASSED] else AnswerKind.SCORED
    return Decided(kind, _fields(decision))


def _fields(decision: DecisionRecord) -> dict[str, Any]:
    return msgspec.structs.asdict(decision)


async def _wait(payments: Iterable[_Waiting], timeout_s: float) -> None:
    """Wait until all have their answers, at most so long."""
    open_ones = {payment.answer for payment in payments if not payment.answer.done()}
    if open_ones and timeout_s > 0:
        await asyncio.wait(open_ones, timeout=timeout_s)
