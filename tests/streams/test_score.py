"""The score role on librdkafka's mock cluster: every transaction has one decision, whatever happens to the worker."""

from __future__ import annotations

import asyncio
from functools import partial

from prometheus_client import CollectorRegistry

from detector.examples import Examples
from streams.score import ScoreRole, score_role
from streams.topics import ALERTS, CARD_STATES, DEAD_LETTERS, DECISIONS, EXAMPLES, MODELS, TRANSACTIONS
from tests.streams.kafka_world import World, eventually, running
from tests.streams.stand_in import POISON_CURRENCY, StandInCore


def role_in(world: World, core: StandInCore, name: str = "w") -> ScoreRole:
    return score_role(core, world.worker(name), CollectorRegistry())


def test_from_transactions_to_decisions_alerts_dead_letters_and_examples(world: World) -> None:
    """One decision a transaction in its source's partition, alerts for what is not ALLOW, dead letters for the rest."""

    async def story() -> None:
        core = StandInCore()
        for number in range(300):
            world.pay(f"t-{number}", card=f"card-{number % 7}")
        world.pay("t-large", card="card-0", amount_minor=5_000_000)
        world.write(TRANSACTIONS, "card-1", b"{not json")
        world.pay("t-poison", card="card-2", currency=POISON_CURRENCY)
        world.pay("t-after", card="card-2")
        world.writer.flush()
        async with running(role_in(world, core)):
            await eventually(lambda: len(world.read(DECISIONS)) == 303, "303 decisions")
            world.label("t-5", card="card-5")
            world.label("t-nobody", card="card-5")
            world.writer.flush()
            await eventually(lambda: any(_labelled(world)), "an example with a label")

    asyncio.run(story())
    decisions = {decision["transaction_id"]: decision for decision in world.values(DECISIONS)}
    assert len(decisions) == 303
    assert decisions["t-large"]["action"] == "FREEZE"
    assert decisions["t-large"]["alert_id"] == "al-t-large"
    assert decisions["t-poison"]["flags"] == ["degraded"]
    assert decisions["t-after"]["action"] == "ALLOW"
    assert [alert["transaction_id"] for alert in world.values(ALERTS)] == ["t-large"]
    for record in world.read(DECISIONS):
        assert f'"partition":{record.partition},'.encode() in (record.value or b"")
    reasons = sorted(dict(letter.headers)["reason"] or b"" for letter in world.read(DEAD_LETTERS))
    assert reasons == [b"not_json", b"scoring_failed"]


def _are_decided(world: World, transactions: int) -> bool:
    return len(world.read(DECISIONS)) >= transactions


def _labelled(world: World) -> list[int]:
    """Labels among the published examples."""
    found = [Examples.from_bytes(record.value or b"") for record in world.read(EXAMPLES)]
    return [label for examples in found for label in examples.label.tolist() if label >= 0]


def test_a_graceful_stop_loses_and_doubles_nothing(world: World) -> None:
    """A new worker goes on exactly where the old one stopped, with its state."""

    async def story() -> None:
        for round_number in range(3):
            core = StandInCore()
            wanted = 50 * (round_number + 1)
            async with running(role_in(world, core, f"w{round_number}")):
                for number in range(50):
                    world.pay(f"t-{round_number}-{number}")
                world.writer.flush()
                await eventually(partial(_are_decided, world, wanted), f"{wanted} decisions")
            assert core.shared_payments == wanted

    asyncio.run(story())
    decisions = world.values(DECISIONS)
    assert len(decisions) == 150
    assert sorted(decision["score"] for decision in decisions) == [n / 1000 for n in range(1, 151)]


def test_card_states_and_models_reach_the_engine(world: World) -> None:
    """What was broadcast before the start is known at the first decision; what comes later, at a later batch."""
    world.write(CARD_STATES, "card-a", b"frozen")
    world.writer.flush()

    async def story() -> None:
        core = StandInCore()
        async with running(role_in(world, core)):
            world.pay("t-1")
            world.writer.flush()
            await eventually(lambda: len(world.read(DECISIONS)) == 1, "a decision")
            assert core.broadcast == [(CARD_STATES, b"frozen")]
            world.writer.produce(MODELS, b"m-000007", b"model", 0)
            world.writer.flush()
            await eventually(lambda: core.model == "m-000007", "the new model")
            world.pay("t-2")
            world.writer.flush()
            await eventually(lambda: len(world.read(DECISIONS)) == 2, "another decision")

    asyncio.run(story())
    assert [decision["model_version"] for decision in world.values(DECISIONS)] == ["m-stand-in", "m-000007"]
