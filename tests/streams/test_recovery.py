"""Recovery: what the output topics hold is not said again, and what one of them lacks is sent again."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from detector.vocabulary import DEADLINE_PASSED, Action
from streams.checkpoint_format import Position
from streams.events import HeaderList, iso_time, time_of
from streams.examples import LABELLED, MATURED, UNLABELLED
from streams.murmur2 import partition_of
from streams.ownership import OwnedPartition
from streams.producer import Producer
from streams.records import TopicPartition
from streams.recovery import (
    Answered,
    StandingDecision,
    Start,
    has_decisions,
    open_tails,
    output_name,
    outputs_of,
    read_answered,
)
from streams.score import score_role
from streams.topics import ALERTS, DEAD_LETTERS, DECISIONS, LABELS, TRANSACTIONS
from tests.streams.kafka_world import PARTITIONS, World, eventually, running
from tests.streams.stand_in import StandInCore

CARD = "card-a"
PARTITION = partition_of(CARD.encode(), PARTITIONS)
HEADERS: HeaderList = [("ce_id", b"al-x"), ("ce_time", b"2026-11-22T10:00:00.000Z")]


def decision(offset: int, action: str, **fields: Any) -> bytes:
    body = {
        "transaction_id": f"t-{offset}", "card_token": CARD, "event_time_ms": 1, "action": action, "score": 0.5,
        "anomaly": 0.0, "reasons": ["r"], "rules": [], "expected_loss_minor": 7, "model_version": "m-old",
        "policy_version": "p", "rates_version": "r", "flags": ["late"],
        "source": {"topic": TRANSACTIONS, "partition": PARTITION, "offset": offset},
    }  # fmt: skip
    return json.dumps(body | fields).encode()


def say(world: World, topic: str, value: bytes) -> None:
    world.writer.produce(topic, value, CARD.encode(), PARTITION, headers=HEADERS)
    world.writer.flush()


def answered_in(world: World, start: Start) -> Answered:
    return read_answered(partial(open_tails, world.settings), {PARTITION: start})[PARTITION]


def test_what_was_answered_stands_and_lost_copies_are_sent_again(world: World) -> None:
    """An alert lost between the two topics is sent with the headers of its decision, and the other way round."""
    for number in range(4):
        world.pay(f"t-{number}", CARD)
    world.write(TRANSACTIONS, CARD, b"not json")
    world.writer.flush()
    say(world, DECISIONS, decision(0, "FREEZE"))
    say(world, DECISIONS, decision(0, "ALLOW"))  # a second answer: it does not count
    say(world, DECISIONS, decision(1, "ALLOW"))
    say(world, ALERTS, decision(2, "DECLINE"))

    async def story() -> None:
        core = StandInCore()
        async with running(score_role(core, world.settings, CollectorRegistry())):
            await eventually(lambda: len(world.read(DECISIONS)) == 5, "the two that lacked")
            await eventually(lambda: len(world.read(DEAD_LETTERS)) == 1, "the dead letter")
        assert sorted(core.adopted) == [(0, Action.FREEZE), (1, Action.ALLOW), (2, Action.DECLINE)]

    asyncio.run(story())
    alerts = {json.loads(record.value or b"")["transaction_id"]: record for record in world.read(ALERTS)}
    assert alerts.keys() == {"t-0", "t-2"}
    assert dict(alerts["t-0"].headers)["ce_time"] == b"2026-11-22T10:00:00.000Z"
    said = [(d["transaction_id"], d["action"], d["model_version"]) for d in world.values(DECISIONS)]
    assert said[3:] == [("t-2", "DECLINE", "m-old"), ("t-3", "ALLOW", "m-stand-in")]


def test_the_tail_is_read_from_where_the_checkpoint_says(world: World) -> None:
    """Positions bound what is read; the first decision of an offset stands."""
    say(world, DECISIONS, decision(0, "ALLOW"))
    say(world, DECISIONS, decision(1, "FREEZE"))
    say(world, DECISIONS, decision(1, "ALLOW"))
    say(world, ALERTS, decision(1, "FREEZE"))
    say(world, DECISIONS, b"what others write here is passed over")
    say(world, DECISIONS, b'{"action":"\xff is not UTF-8"}')
    decisions = output_name(TopicPartition(DECISIONS, PARTITION))
    found = answered_in(world, Start(0, {decisions: 1}))
    assert found.decisions.keys() == {1}
    standing = found.decisions[1]
    assert (standing.action, standing.score, standing.reasons) == (Action.FREEZE, 0.5, ("r",))
    assert found.missing_copies == []
    assert found.positions[decisions] == 5
    assert found.positions.keys() == {output_name(output) for output in outputs_of(PARTITION)}


def test_what_comes_later_is_not_copied_to_the_alerts(world: World) -> None:
    """A worker that lost its partition may say FREEZE where ALLOW stands: nobody alerts on its behalf."""
    say(world, DECISIONS, decision(3, "ALLOW"))
    say(world, DECISIONS, decision(3, "FREEZE"))
    found = answered_in(world, Start(0, {}))
    assert found.decisions[3].action == Action.ALLOW
    assert found.missing_copies == []


def test_what_lies_between_our_answers_is_looked_at(world: World) -> None:
    """Another worker's decision there means that one of us has lost the partition; a late answer means nothing."""
    for said in (decision(3, "ALLOW"), decision(4, "DECLINE", reasons=[DEADLINE_PASSED]), b"what others write"):
        say(world, DECISIONS, said)
    partition = TopicPartition(DECISIONS, PARTITION)
    tails = partial(open_tails, world.settings)
    assert has_decisions(tails, partition, range(3))
    assert not has_decisions(tails, partition, range(1, 3))


def test_what_the_checkpoint_contains_is_not_answered_again(world: World) -> None:
    """Outputs of offsets before the checkpoint may stand behind its positions, in one topic and not in the other."""
    say(world, DECISIONS, decision(6, "FREEZE"))
    say(world, DECISIONS, decision(7, "FREEZE"))
    say(world, ALERTS, decision(6, "FREEZE"))
    behind_the_alert = {output_name(TopicPartition(ALERTS, PARTITION)): 1}
    found = answered_in(world, Start(7, behind_the_alert))
    assert found.decisions.keys() == {7}
    assert [(copy.topic, copy.value) for copy in found.missing_copies] == [(ALERTS, decision(7, "FREEZE"))]


@pytest.mark.parametrize("now_ms", [0, 1_790_000_000_123, 4_102_444_799_999])
def test_times_in_headers_survive(now_ms: int) -> None:
    """A copy that is sent again tells the time of its decision, to the millisecond."""
    assert time_of(iso_time(now_ms)) == now_ms


@pytest.mark.parametrize(
    "unlearned",
    [
        Answered(decisions={11: StandingDecision(0, 0.0, 0.0, 0, 0, (), ())}),
        Answered(dead_letters={(TRANSACTIONS, 11)}),
        Answered(dead_letters={(LABELS, 6)}),
        Answered(example_progress={UNLABELLED: 12}),
        Answered(example_progress={LABELLED: 7}),
        Answered(example_progress={MATURED: 1}),
    ],
)
def test_a_checkpoint_within_a_replay_names_the_positions_before_it(unlearned: Answered) -> None:
    """Killed once more within the replay, the next owner still reads all that was answered, and says nothing twice."""
    producer = SimpleNamespace(positions={TopicPartition(DECISIONS, 3): 110})
    unlearned.positions = {"fraud.decisions.v1/3": 100}
    owned = OwnedPartition(
        3, Position(11, 6), answered=unlearned, checkpointed=None,
        outputs_before={"fraud.decisions.v1/3": 40},
    )  # fmt: skip
    assert owned.output_positions(cast("Producer", producer)) == {"fraud.decisions.v1/3": 40}
    owned.position = Position(12, 7)
    unlearned.example_progress.pop(MATURED, None)
    assert owned.output_positions(cast("Producer", producer)) == {"fraud.decisions.v1/3": 110}


def test_what_a_waiting_caller_was_told_answers_nothing(world: World) -> None:
    """A late answer of the gateway stands for its payment; the worker decides all the same, lest a FREEZE be lost."""
    say(world, DECISIONS, decision(0, "ALLOW", reasons=["deadline_passed"], flags=["degraded"]))
    say(world, DECISIONS, decision(1, "DECLINE", reasons=["deadline_passed"], flags=["degraded"]))
    say(world, DECISIONS, decision(1, "FREEZE"))
    found = answered_in(world, Start(0, {}))
    assert found.decisions.keys() == {1}
    assert found.decisions[1].action == Action.FREEZE
    assert [copy.value for copy in found.missing_copies] == [decision(1, "FREEZE")]
