"""The gateway on Kafka, beside a worker that scores."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from prometheus_client import CollectorRegistry

from detector.vocabulary import Action
from streams.card_numbers import CardNumberCheck
from streams.codecs import TransactionCodec
from streams.encoding import Versions
from streams.errors import GatewayError
from streams.gateway import Answer, AnswerKind, Decided, Gateway, Late
from streams.gateway_log import KafkaGatewayLog
from streams.score import score_role
from streams.topics import ALERTS, DECISIONS, TRANSACTIONS
from tests.streams.kafka_world import DEADLINE_S, World, eventually, running
from tests.streams.stand_in import FREEZE_FROM_MINOR, StandInCore


def payment(transaction: str, amount_minor: int = 100) -> bytes:
    body = {
        "transaction_id": transaction, "card_token": "card-a", "event_time_ms": int(time.time() * 1000),
        "amount_minor": amount_minor, "currency": "EUR",
    }  # fmt: skip
    return json.dumps(body).encode()


def gateway() -> Gateway:
    late = Late(lambda *_: Action.ALLOW, Versions("", "p", "r", ()))
    return Gateway(TransactionCodec(CardNumberCheck(), 300_000), late, lambda _kind: None)


async def ask(made: Gateway, log: KafkaGatewayLog, body: bytes, deadline_s: float) -> Answer:
    """Ask, again while the log cannot be followed yet."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            (answer,) = await made.decide([body], log, now_ms=int(time.time() * 1000), deadline_s=deadline_s)
        except GatewayError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        else:
            return answer


def test_a_worker_s_decision_is_the_answer(world: World) -> None:
    """What the worker decides is what the caller is told, whoever's offset it got; the same again is one decision."""

    async def story() -> None:
        made = gateway()
        log = KafkaGatewayLog(world.settings, made.wants, made.seen)
        async with running(score_role(StandInCore(), world.settings, CollectorRegistry())):
            for number in range(20):
                answer = await ask(made, log, payment(f"t-{number}"), DEADLINE_S)
                assert isinstance(answer, Decided)
                assert (answer.kind, answer.fields["transaction_id"]) == (AnswerKind.SCORED, f"t-{number}")
        await asyncio.to_thread(log.close)

    asyncio.run(story())
    assert [value["transaction_id"] for value in world.values(DECISIONS)] == [f"t-{number}" for number in range(20)]


def test_a_freeze_after_a_late_answer_still_freezes(world: World) -> None:
    """No worker: the policy answers, and that stands. A worker comes and decides FREEZE: its alert goes out."""

    async def story() -> None:
        made = gateway()
        log = KafkaGatewayLog(world.settings, made.wants, made.seen)
        answer = await ask(made, log, payment("t-large", FREEZE_FROM_MINOR), 2.0)
        assert isinstance(answer, Decided)
        assert (answer.kind, answer.fields["action"]) == (AnswerKind.LATE, "ALLOW")
        async with running(score_role(StandInCore(), world.settings, CollectorRegistry())):
            await eventually(lambda: len(world.read(ALERTS)) == 1, "the alert")
            await eventually(lambda: len(world.read(DECISIONS)) == 2, "the worker's own decision")
        await asyncio.to_thread(log.close)

    asyncio.run(story())
    assert _said(world, DECISIONS) == [("ALLOW", ["deadline_passed"]), ("FREEZE", ["large_amount"])]
    assert _said(world, ALERTS) == [("FREEZE", ["large_amount"])]
    (source,) = {json.dumps(value["source"]) for value in world.values(DECISIONS)}
    assert json.loads(source)["topic"] == TRANSACTIONS


def _said(world: World, topic: str) -> list[tuple[str, Any]]:
    return [(value["action"], value["reasons"]) for value in world.values(topic)]
