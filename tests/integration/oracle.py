"""What happened, seen from outside: topics and Redis read and compared with what was sent. Counts only, no mercy."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import redis

from casework.cards import OutcomeKind
from casework.ids import alert_step_id, notification_id_of
from detector.vocabulary import CardStatus
from streams.records import ReadRecord
from streams.topics import ALERTS, CARD_STATES, CASES, DEAD_LETTERS, DECISIONS, NOTIFICATIONS, TRANSACTIONS
from tests.streams.kafka_world import World

Document = dict[str, Any]
Place = tuple[int, int]


@dataclass
class RedisContent:
    """What Redis holds, by its documented keys.

    Attributes:
        cards: by card token.
        cases: by case id.
        events: of each case.
        outcomes: how each alert ended, by alert id.
        listed: case ids in the lists of cases.
        waiting: entries in outboxes.
    """

    cards: dict[str, Document] = field(default_factory=dict)
    cases: dict[str, Document] = field(default_factory=dict)
    events: dict[str, list[Document]] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)
    listed: list[str] = field(default_factory=list)
    waiting: int = 0


def read_redis(url: str) -> RedisContent:
    """Read everything."""
    content = RedisContent()
    with redis.Redis.from_url(url, decode_responses=True) as client:
        for key in client.scan_iter("cardwatch:{*", count=1000):
            _, _, kind, *name = key.split(":", 3)
            if kind == "card":
                content.cards[name[0]] = json.loads(str(client.hget(key, "card")))
            elif kind == "case":
                fields: dict[str, str] = client.hgetall(key)
                content.cases[name[0]] = json.loads(fields.pop("case"))
                content.events[name[0]] = [json.loads(fields[number]) for number in sorted(fields, key=int)]
            elif kind == "step":
                outcome = json.loads(str(client.get(key)))["outcome"]
                if outcome is not None:  # a step of a person or of the clock has none
                    content.outcomes[outcome["alert_id"]] = outcome["kind"]
            elif kind == "cases":
                content.listed += [position.rpartition(":")[2] for position in client.zrange(key, 0, -1)]
            elif kind == "outbox":
                content.waiting += client.xlen(key)
    return content


@dataclass
class Findings:
    """What was counted, and what must be zero."""

    facts: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)

    def table(self) -> str:
        """For people."""
        lines = [f"{name:<68}{count:>9,}" for name, count in self.facts.items()]
        return "\n".join([*lines, "must be zero:", *(f"  {name:<66}{n:>9,}" for name, n in self.faults.items())])


def is_done(world: World, redis_url: str, refused: int) -> bool:
    """Whether every transaction is answered or refused, every alert handled and every outbox empty."""
    sent = len(world.read(TRANSACTIONS))
    if len({_source(decision) for decision in world.values(DECISIONS)}) < sent - refused:
        return False
    alerts = {str(alert["alert_id"]) for alert in world.values(ALERTS)}
    content = read_redis(redis_url)
    return alerts <= content.outcomes.keys() and content.waiting == 0


def examine(world: World, redis_url: str, refused: Mapping[bytes, bytes], acknowledged: int) -> Findings:
    """Compare.

    Args:
        world: whose topics to read.
        redis_url: whose cards and cases to read.
        refused: reason for a dead letter by the key of the only record that has this key.
        acknowledged: how many records the broker told the writer to have.
    """
    findings = Findings()
    sent = {(record.partition, record.offset): record for record in world.read(TRANSACTIONS)}
    findings.facts["transactions acknowledged by Kafka"] = acknowledged
    findings.faults["transactions missing from the topic, or there twice"] = abs(acknowledged - len(sent))
    standing = _examine_decisions(findings, world, {p: r for p, r in sent.items() if (r.key or b"") not in refused})
    content = read_redis(redis_url)
    _examine_alerts(findings, world, standing, content)
    _examine_cards(findings, world, standing, content)
    _examine_notices(findings, world, content, standing)
    _examine_dead_letters(findings, world, {p: r for p, r in sent.items() if (r.key or b"") in refused}, refused)
    return findings


def _examine_decisions(findings: Findings, world: World, sent: Mapping[Place, ReadRecord]) -> list[Document]:
    """One decision for every transaction; the first one stands."""
    standing: dict[Place, Document] = {}
    copies = contradicting = 0
    for record in sorted(world.read(DECISIONS), key=lambda record: (record.partition, record.offset)):
        decision = json.loads(record.value or b"")
        first = standing.setdefault(_source(decision), decision)
        copies += first is not decision
        contradicting += first != decision
    wrong = sum(
        1
        for place in standing.keys() & sent.keys()
        if standing[place]["transaction_id"] != json.loads(sent[place].value or b"")["transaction_id"]
    )
    actions = Counter(decision["action"] for decision in standing.values())
    findings.facts["transactions to decide"] = len(sent)
    findings.facts["decisions, by place of their transaction"] = len(standing)
    findings.facts |= {f"  of them {action}": count for action, count in sorted(actions.items())}
    findings.faults["transactions without a decision"] = len(sent.keys() - standing.keys())
    findings.faults["decisions on nothing, or on another transaction"] = len(standing.keys() - sent.keys()) + wrong
    findings.faults["second decisions on a transaction"] = copies
    findings.faults["second decisions that contradict the first"] = contradicting
    return list(standing.values())


def _examine_alerts(findings: Findings, world: World, standing: list[Document], content: RedisContent) -> None:
    """An alert for every decision that is not ALLOW, and each handled once."""
    wanted = {decision["alert_id"]: decision for decision in standing if decision["action"] != "ALLOW"}
    alerts = Counter(str(alert["alert_id"]) for alert in world.values(ALERTS))
    in_cases = Counter(
        event["alert"]["alert_id"] for events in content.events.values() for event in events if event["alert"]
    )
    freezes = [alert_id for alert_id, decision in wanted.items() if decision["action"] == "FREEZE"]
    outcomes = Counter(content.outcomes.get(alert_id, "not handled") for alert_id in freezes)
    findings.facts["alerts"] = len(alerts)
    findings.facts |= {f"  freezes that ended as {kind}": count for kind, count in sorted(outcomes.items())}
    findings.faults["decisions that are not ALLOW, without an alert"] = len(wanted.keys() - alerts.keys())
    findings.faults["alerts without a decision"] = len(alerts.keys() - wanted.keys())
    findings.faults["second copies of an alert"] = alerts.total() - len(alerts)
    findings.faults["alerts that are not handled"] = len(alerts.keys() - content.outcomes.keys())
    findings.faults["freezes not frozen, attached, held or superseded"] = sum(
        content.outcomes.get(alert_id) not in {"frozen", "attached", "held", "superseded"} for alert_id in freezes
    )
    findings.faults["freezes in no case"] = sum(
        alert_id not in in_cases for alert_id in freezes if content.outcomes.get(alert_id) != OutcomeKind.SUPERSEDED
    )
    findings.faults["alerts in cases twice"] = in_cases.total() - len(in_cases)


def _examine_cards(findings: Findings, world: World, standing: list[Document], content: RedisContent) -> None:
    """A card that was to be frozen is, once, and it has one case."""
    to_freeze = {str(decision["card_token"]) for decision in standing if decision["action"] == "FREEZE"}
    cases = Counter(str(case["card_token"]) for case in content.cases.values())
    changes = Counter(event["card_token"] for event in _once(world.read(CARD_STATES)).values())
    told = Counter(event["case_id"] for event in _once(world.read(CASES)).values())
    opened = Counter(e["case_id"] for e in _once(world.read(CASES)).values() if e["type"] == "opened")
    findings.facts["cards with a FREEZE decision"] = len(to_freeze)
    findings.facts["cards frozen in Redis"] = sum(c["state"] == CardStatus.FROZEN for c in content.cards.values())
    findings.facts["cases in Redis"] = len(content.cases)
    findings.faults["cards with a FREEZE decision that are not frozen"] = sum(
        token not in content.cards or content.cards[token]["state"] != CardStatus.FROZEN for token in to_freeze
    )
    findings.faults["cards frozen without a FREEZE decision"] = sum(
        card["state"] != CardStatus.ACTIVE for token, card in content.cards.items() if token not in to_freeze
    )
    findings.faults["cards frozen twice, in Redis or in its topic"] = sum(
        card["sequence"] > 1 for card in content.cards.values()
    ) + sum(count > 1 for count in changes.values())
    findings.faults["frozen cards that the topic does not know"] = len(to_freeze - changes.keys())
    findings.faults["cards with a FREEZE decision without a case"] = len(to_freeze - cases.keys())
    findings.faults["second cases of a card"] = cases.total() - len(cases)
    findings.faults["alerts twice with their card"] = sum(
        len(card["alerts"]) - len({alert["alert_id"] for alert in card["alerts"]}) for card in content.cards.values()
    )
    listed = Counter(content.listed)
    findings.faults["cases not listed exactly once"] = sum(
        listed[case] != 1 for case in content.cases.keys() | listed.keys()
    )
    findings.faults["cases not opened exactly once in their topic"] = sum(opened[case] != 1 for case in content.cases)
    findings.faults["cases whose topic has another number of events"] = sum(
        told[case] != len(events) for case, events in content.events.items()
    )


def _examine_notices(findings: Findings, world: World, content: RedisContent, standing: list[Document]) -> None:
    """A notice for every card frozen and every payment to be confirmed; copies have the same `ce_id`."""
    records = world.read(NOTIFICATIONS)
    notices = Counter(str(notice["notification_id"]) for notice in _once(records).values())
    wanted = {
        notification_id_of(alert_step_id(decision["alert_id"]))
        for decision in standing
        if decision["action"] == "STEP_UP" or content.outcomes.get(decision.get("alert_id", "")) == OutcomeKind.FROZEN
    }
    findings.facts["notices to cardholders"] = len(notices)
    findings.facts["  copies of them, recognised by ce_id"] = len(records) - len(_once(records))
    findings.faults["notices that are missing"] = len(wanted - notices.keys())
    findings.faults["notices that nobody asked for"] = len(notices.keys() - wanted)
    findings.faults["second notices on an alert"] = notices.total() - len(notices)


def _examine_dead_letters(
    findings: Findings, world: World, broken: Mapping[Place, ReadRecord], refused: Mapping[bytes, bytes]
) -> None:
    """A dead letter with its reason for every record that was refused."""
    letters = Counter(
        (int(headers["source_partition"] or b""), int(headers["source_offset"] or b""), headers["reason"])
        for headers in (dict(letter.headers) for letter in world.read(DEAD_LETTERS))
    )
    wanted = {(*place, refused[record.key or b""]) for place, record in broken.items()}
    findings.facts["dead letters"] = len(letters)
    findings.faults["broken records without a dead letter of the right reason"] = len(wanted - letters.keys())
    findings.faults["dead letters for nothing, or twice"] = letters.total() - len(wanted & letters.keys())


def _source(decision: Document) -> Place:
    return decision["source"]["partition"], decision["source"]["offset"]


def _once(records: Iterable[ReadRecord]) -> dict[bytes, Document]:
    """Documents by `ce_id`, as a consumer drops copies."""
    return {dict(record.headers)["ce_id"] or b"": json.loads(record.value or b"") for record in records}
