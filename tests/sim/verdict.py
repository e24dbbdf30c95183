"""What must be true at the end of a story, compared with the same input read without any disturbance."""

from __future__ import annotations

import contextlib
import gc
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from casework.adapters.memory_store import MemoryStore
from casework.cards import OutcomeKind
from casework.ids import notification_id_of
from detector.vocabulary import DEADLINE_PASSED, Action
from streams.dead_letters import origin_of
from streams.records import ReadRecord
from streams.topics import ALERTS, CARD_STATES, CASES, DEAD_LETTERS, DECISIONS, NOTIFICATIONS, TRANSACTIONS
from tests.sim.files import SimFiles
from tests.sim.kafka import SimLogs
from tests.sim.plan import Plan, plan_of
from tests.sim.story import Story, repeatable
from tests.sim.world import Chances, World

Document = dict[str, Any]
Place = tuple[int, int]
_ACTIONS = Action.by_wire()
_FREEZE_ENDS = frozenset({OutcomeKind.FROZEN, OutcomeKind.ATTACHED, OutcomeKind.HELD, OutcomeKind.SUPERSEDED})


def judge(seed: int) -> list[str]:
    """Play a seed; what is wrong, as sentences. Nothing, as a rule."""
    with buried_afterwards():
        return judge_plan(plan_of(seed))[1]


@contextlib.contextmanager
def buried_afterwards() -> Iterator[None]:
    """Collect what dead processes leave behind when all is over, and never in the middle.

    A coroutine that is collected runs its `finally`. CPython 3.11 may collect while it sets a context variable; where
    such a `finally` sets another one, it frees what the first still reads, and the interpreter crashes. (From 3.12 on
    it collects between instructions only.) A process that lives keeps its coroutines until they end; here thousands of
    them die.
    """
    gc.disable()
    try:
        yield
    finally:
        SimFiles.begin(World(0, Chances()))
        gc.collect(1)
        gc.enable()


def judge_plan(plan: Plan) -> tuple[Story, list[str]]:
    """Play a plan."""
    with repeatable(plan.seed):
        story = Story(plan)
        story.play()
        complaints = list(story.complaints)
        undisturbed = Story(plan)
        undisturbed.play_undisturbed(story.logs, story.world.now_s + 60.0)
        complaints += [f"the undisturbed run: {text}" for text in undisturbed.complaints]
    if not complaints:
        standing = standing_decisions(story.logs)
        complaints += _decisions(story, undisturbed, standing)
        complaints += _alerts(story.logs, standing)
        complaints += _effects(story.redis, story.logs, standing)
        complaints += _commands(story)
    return story, complaints


def standing_decisions(logs: SimLogs) -> dict[Place, Document]:
    """The first decision in log order for each source offset; what a waiting caller was told instead is none."""
    standing: dict[Place, Document] = {}
    for record in logs.all(DECISIONS):
        decision = json.loads(record.value or b"")
        if decision["reasons"] == [DEADLINE_PASSED]:
            continue
        standing.setdefault((decision["source"]["partition"], decision["source"]["offset"]), decision)
    return standing


def _decisions(story: Story, undisturbed: Story, standing: Mapping[Place, Document]) -> list[str]:
    """One decision for each payment, and a state as if nothing had happened."""
    wrong: list[str] = []
    expected = standing_decisions(undisturbed.logs)
    letters = Counter(origin_of(dict(record.headers)) for record in story.logs.all(DEAD_LETTERS))
    wanted = Counter(origin_of(dict(record.headers)) for record in undisturbed.logs.all(DEAD_LETTERS))
    sent = {(record.partition, record.offset): record for record in story.logs.all(TRANSACTIONS)}
    if standing.keys() != expected.keys():
        wrong.append(f"decisions: {len(expected.keys() - standing.keys())} lost, "
                     f"{len(standing.keys() - expected.keys())} on nothing")  # fmt: skip
    for place in sorted(standing.keys() & expected.keys()):
        ours, theirs = standing[place], expected[place]
        if ours["transaction_id"] != json.loads(sent[place].value or b"")["transaction_id"]:
            wrong.append(f"the decision on {place} is on another payment")
        if ours["score"] != theirs["score"]:
            wrong.append(f"score of {place}: {ours['score']}, undisturbed {theirs['score']}")
    if letters.keys() != wanted.keys():
        wrong.append(f"dead letters on {len(letters.keys() ^ wanted.keys())} records too many or too few")
    core, other = story.owner().core, undisturbed.owner().core
    if core is None or other is None:
        return [*wrong, "nobody owns the partitions"]
    if core.state_of_cards() != other.state_of_cards():
        wrong.append("the state of cards is not that of an undisturbed run")
    if story.plan.shares and core.shared_payments != other.shared_payments:
        wrong.append(f"{core.shared_payments} payments in shared entities, undisturbed {other.shared_payments}")
    if core.config_digest() != other.config_digest():
        wrong.append("the state belongs to another configuration")
    remembered = core.decided()
    wrong += [
        f"state remembers {Action(remembered[place]).wire} for {place}, but {decision['action']} stands"
        for place, decision in standing.items()
        if place in remembered and remembered[place] != _ACTIONS[decision["action"]]
    ]
    return wrong


def _alerts(logs: SimLogs, standing: Mapping[Place, Document]) -> list[str]:
    """An alert for every decision that stands and is not ALLOW, and for no other."""
    wanted = {decision["alert_id"] for decision in standing.values() if decision["action"] != Action.ALLOW.wire}
    alerts = {json.loads(record.value or b"")["alert_id"] for record in logs.all(ALERTS)}
    return [f"alert {alert_id} is missing" for alert_id in sorted(wanted - alerts)]


def _effects(redis: MemoryStore, logs: SimLogs, standing: Mapping[Place, Document]) -> list[str]:
    """Each FREEZE that stands has one outcome, one place in a case and one notice; nothing else has any."""
    wrong: list[str] = []
    wanted = {d["alert_id"]: d for d in standing.values() if d["action"] != Action.ALLOW.wire}
    outcomes = {
        known.outcome.alert_id: known.outcome for known in redis._recorded.values() if known.outcome is not None
    }
    in_cases = Counter(
        event.alert.alert_id for stored in redis._cases.values() for event in stored.events if event.alert is not None
    )
    for alert_id in sorted(wanted.keys() | outcomes.keys() | in_cases.keys()):
        outcome = outcomes.get(alert_id)
        if alert_id not in wanted:
            wrong.append(f"{alert_id} has an outcome or a case, but no decision that stands")
        elif outcome is None:
            wrong.append(f"{alert_id} has no outcome")
        elif outcome.kind not in _FREEZE_ENDS:
            wrong.append(f"{alert_id} ended as {outcome.kind}")
        elif outcome.kind is not OutcomeKind.SUPERSEDED and in_cases[alert_id] != 1:
            wrong.append(f"{alert_id} is in cases {in_cases[alert_id]} times")
    frozen = [step for step, known in redis._recorded.items()
              if known.outcome is not None and known.outcome.kind is OutcomeKind.FROZEN]  # fmt: skip
    notices = Counter(document["notification_id"] for document in _once(logs.all(NOTIFICATIONS)).values())
    expected = {notification_id_of(step) for step in frozen}
    wrong += [f"the notice {name} is missing" for name in sorted(expected - notices.keys())]
    wrong += [f"the notice {name} was given {many} times" for name, many in notices.items() if many != 1]
    return wrong + _told(redis, logs)


def _told(redis: MemoryStore, logs: SimLogs) -> list[str]:
    """What Kafka was told of cards and cases is what Redis holds, in its order."""
    wrong: list[str] = []
    told: dict[str, list[str]] = {}
    for document in _once(logs.all(CARD_STATES)).values():
        told.setdefault(document["card_token"], []).append(document["command_id"])
    for card_token, (_, card) in redis._cards.items():
        held = [change.command_id for change in card.history]
        if held != told.get(card_token, [])[-len(held) or len(told.get(card_token, [])) :]:
            wrong.append(f"changes of {card_token}: Redis holds {held}, Kafka was told {told.get(card_token)}")
        if len(set(told.get(card_token, []))) != len(told.get(card_token, [])):
            wrong.append(f"a change of {card_token} was told under two ids")
    events = Counter((document["case_id"], document["sequence"]) for document in _once(logs.all(CASES)).values())
    held_events = {(case_id, event.sequence) for case_id, stored in redis._cases.items() for event in stored.events}
    if events.keys() != held_events or any(many != 1 for many in events.values()):
        wrong.append(f"{len(events.keys() ^ held_events)} events of cases were not told, or never happened")
    return wrong


def _commands(story: Story) -> list[str]:
    """What a person was told is in Redis, once."""
    wrong: list[str] = []
    for person in story.people:
        if person.told is not None:
            _, card = story.redis._cards[person.card_token]
            changes = [change for change in card.history if change.actor == f"agent-{person.number}"]
            if len(changes) != 1:
                wrong.append(f"the command of agent-{person.number} was carried out {len(changes)} times")
    return wrong


def _once(records: list[ReadRecord]) -> dict[bytes, Document]:
    """Documents by `ce_id`, as a consumer drops copies: the first counts."""
    found: dict[bytes, Document] = {}
    for record in records:
        found.setdefault(dict(record.headers)["ce_id"] or b"", json.loads(record.value or b""))
    return found
