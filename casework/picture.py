"""The picture that topics draw of cards: what a store must hold if nothing was lost. Pure.

The outbox tells everything that happens to a card: its changes of state, every event of its cases, what is damped. So
a store that lost its last steps, or all of them, is brought up to what the topics tell, card by card; and a store that
lost nothing is recognised because bringing it up changes nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

import msgspec

from casework.breaker import Breaker, BreakerState
from casework.cards import (
    MAXIMUM_HISTORY,
    MAXIMUM_KNOWN_CASES,
    SYSTEM_ACTOR,
    AlertSummary,
    CardChange,
    CardRecord,
    OutcomeKind,
    remember_alert,
)
from casework.cases import Case, CaseEvent, CaseEventType, fold
from casework.errors import IllegalCaseMoveError
from casework.lists import ListEntry
from casework.outbox import AUDIT_TOPIC, CARDS_STATE_TOPIC, CASES_TOPIC, CONTROL_TOPIC, NOTIFICATIONS_TOPIC
from casework.records import case_event_in
from casework.store import StoredCase
from casework.views import Outcome
from detector.vocabulary import Action, CardStatus

TOLD_TOPICS = (CARDS_STATE_TOPIC, CASES_TOPIC, CONTROL_TOPIC, AUDIT_TOPIC, NOTIFICATIONS_TOPIC)
_STATES = CardStatus.by_wire()


@dataclass(frozen=True, slots=True)
class Damping:
    """A directive that damps reasons on a card; `time_ms` is when it was given."""

    time_ms: int
    reasons: tuple[str, ...]
    until_ms: int


@dataclass(slots=True)
class ToldOfCard:
    """What topics say of one card.

    Attributes:
        changes: by sequence.
        last_change: sequence of the last record in the log: what compaction would leave.
        events: by sequence, of each case.
    """

    changes: dict[int, CardChange] = field(default_factory=dict)
    last_change: int = 0
    events: defaultdict[str, dict[int, CaseEvent]] = field(default_factory=lambda: defaultdict(dict))
    damping: Damping | None = None


@dataclass(slots=True)
class Told:
    """What topics say, collected record by record; copies change nothing.

    Attributes:
        cards: by card token.
        breakers: as the audit tells them last, by policy version.
        lists: entries of the desk's lists as the audit tells them last, by name.
        notices: ids of all notices.
        counts: records read, by topic; those that are none of ours under "unreadable".
        newest_ms: time of the newest record, by topic.
    """

    cards: defaultdict[str, ToldOfCard] = field(default_factory=lambda: defaultdict(ToldOfCard))
    breakers: dict[str, Breaker] = field(default_factory=dict)
    lists: dict[str, ListEntry] = field(default_factory=dict)
    notices: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    newest_ms: dict[str, int] = field(default_factory=dict)

    def add(self, topic: str, value: bytes | None, time_ms: int) -> None:
        """Take a record in.

        Args:
            topic: one of `TOLD_TOPICS`.
            value: of the record; an empty one, which removes a key of a compacted topic, says nothing.
            time_ms: when it was told (`ce_time`).
        """
        if not value:
            return
        try:
            body = msgspec.json.decode(value, type=dict[str, Any])
            self._take[topic](self, body, time_ms)
        except (msgspec.DecodeError, KeyError, TypeError):
            self.counts["unreadable"] += 1
            return
        self.counts[topic] += 1
        self.newest_ms[topic] = max(time_ms, self.newest_ms.get(topic, 0))

    def _take_state(self, body: dict[str, Any], _time_ms: int) -> None:
        change = msgspec.convert(body | {"state": _STATES[body["state"]]}, CardChange)
        card = self.cards[body["card_token"]]
        card.changes[change.sequence] = change
        card.last_change = change.sequence

    def _take_event(self, body: dict[str, Any], _time_ms: int) -> None:
        event = case_event_in(body)
        self.cards[event.card_token].events[event.case_id][event.sequence] = event

    def _take_directive(self, body: dict[str, Any], time_ms: int) -> None:
        if body.get("kind") == "damp":
            card = self.cards[body["card_token"]]
            if card.damping is None or time_ms >= card.damping.time_ms:
                card.damping = Damping(time_ms, tuple(body["reasons"]), body["until_ms"])

    def _take_audit(self, body: dict[str, Any], _time_ms: int) -> None:
        if body["kind"] == "list_entry":
            entry = msgspec.convert(body | {"set_ms": body["time_ms"]}, ListEntry)
            known_entry = self.lists.get(entry.name)
            if known_entry is None or entry.revision > known_entry.revision:
                self.lists[entry.name] = entry
            return
        states = {"freeze_breaker_opened": BreakerState.OPEN, "freeze_breaker_released": BreakerState.CLOSED}
        state = states.get(body["kind"])
        policy_version = str(body["subject"]).removeprefix("policy:")
        known = self.breakers.get(policy_version)
        if state is not None and (known is None or body["time_ms"] >= known.changed_ms):
            # A revision that none of the lost ones had: steps planned before the loss must not fit.
            revision = (known.revision if known else body["time_ms"]) + 1
            self.breakers[policy_version] = Breaker(
                policy_version, revision, state, body["time_ms"], body["actor"], body["reason"]
            )

    def _take_notice(self, body: dict[str, Any], _time_ms: int) -> None:
        self.notices.add(body["notification_id"])

    _take: ClassVar[dict[str, Callable[[Told, dict[str, Any], int], None]]] = {
        CARDS_STATE_TOPIC: _take_state,
        CASES_TOPIC: _take_event,
        CONTROL_TOPIC: _take_directive,
        AUDIT_TOPIC: _take_audit,
        NOTIFICATIONS_TOPIC: _take_notice,
    }


@dataclass(frozen=True, slots=True)
class Held:
    """What a store holds of a card: the card, and the cases that are not forgotten, by id."""

    card: CardRecord
    cases: Mapping[str, StoredCase] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which store and topics differ.

    Attributes:
        kind: a word for programs.
        detail: what the topics say and what the store holds.
    """

    card_token: str
    kind: str
    detail: str


def bring_up(held: Held, told: ToldOfCard, forgotten_before_ms: int) -> Held:
    """What the store must hold once everything that was told of the card is in it.

    What it holds already stays; what was told beyond is added in order. A case whose events have a gap is brought up to
    the gap (`differences` names it).

    Args:
        held: what the store holds; an empty card of that token where it holds nothing.
        told: what topics, and the store's own outbox, say.
        forgotten_before_ms: cases closed before this are not brought back.
    """
    cases, added = dict(held.cases), list[CaseEvent]()
    for case_id, events in told.events.items():
        stored = _bring_up_case(cases.get(case_id), events)
        if stored is None or (stored.case.closed_ms is not None and stored.case.closed_ms < forgotten_before_ms):
            continue
        known = len(cases[case_id].events) if case_id in cases else 0
        added += stored.events[known:]
        cases[case_id] = stored
    card = _with_changes(held.card, told)
    card = _with_alerts(card, sorted(added, key=lambda event: (event.time_ms, event.sequence)))
    new_ids = sorted(cases.keys() - held.cases.keys(), key=lambda case_id: cases[case_id].case.opened_ms)
    is_open = [case_id for case_id, stored in cases.items() if stored.case.is_open]
    known_ids = (*card.case_ids, *(case_id for case_id in new_ids if case_id not in card.case_ids))
    card = replace(card, open_case_id=is_open[-1] if is_open else None, case_ids=known_ids[-MAXIMUM_KNOWN_CASES:])
    return Held(card, cases)


def _bring_up_case(stored: StoredCase | None, told: Mapping[int, CaseEvent]) -> StoredCase | None:
    """A case with the events that it lacks, as far as they follow on one another."""
    case: Case | None = None if stored is None else stored.case
    events = [] if stored is None else list(stored.events)
    following = 1 if case is None else case.sequence + 1
    while following in told:
        try:
            case = fold(case, told[following])
        except IllegalCaseMoveError:
            break
        events.append(told[following])
        following += 1
    return None if case is None else StoredCase(case, tuple(events))


def _with_changes(card: CardRecord, told: ToldOfCard) -> CardRecord:
    """The card with the changes, decisions and damping that it lacks."""
    changes = [told.changes[sequence] for sequence in sorted(told.changes) if sequence > card.sequence]
    decided = (event for events in told.events.values() for event in events.values() if _is_persons_decision(event))
    commanded_ms = max(
        card.person_command_time_ms or 0,
        *(change.command_time_ms for change in changes if change.actor != SYSTEM_ACTOR),
        *(event.time_ms for event in decided),
        0,
    )
    if changes:
        card = replace(
            card,
            state=changes[-1].state,
            sequence=changes[-1].sequence,
            command_time_ms=changes[-1].command_time_ms,
            history=(*card.history, *changes)[-MAXIMUM_HISTORY:],
        )
    if told.damping is not None:
        card = replace(card, damped_reasons=told.damping.reasons, damped_until_ms=told.damping.until_ms)
    return replace(card, person_command_time_ms=commanded_ms or None)


def _with_alerts(card: CardRecord, added: Iterable[CaseEvent]) -> CardRecord:
    """List the alerts of events with their card, and the payments of the newest."""
    known = {summary.alert_id for summary in card.alerts}
    for event in added:
        alert = event.alert
        if alert is not None and alert.alert_id not in known:
            summary = AlertSummary(
                alert.alert_id, alert.transaction_id, alert.action, alert.event_time_ms, alert.time_ms, alert.score,
                alert.reasons, alert.outcome, event.case_id,
            )  # fmt: skip
            card = remember_alert(card, summary, alert.payments)
    return card


def outcomes_of(held: Held) -> list[Outcome]:
    """How the alerts of its cases ended, as the steps' records say it; the card's state is that of now."""
    return [
        Outcome(
            event.alert.alert_id, event.alert.action, event.alert.outcome, held.card.state, event.case_id, event.time_ms
        )
        for stored in held.cases.values()
        for event in stored.events
        if event.alert is not None
    ]


def differences(present: Held, told: ToldOfCard, forgotten_before_ms: int) -> list[Difference]:
    """In what a store and the topics differ about a card.

    Args:
        present: what the store holds.
        told: everything that topics, and the store's own outbox, say of the card.
        forgotten_before_ms: cases closed before this may be missing from the store.
    """
    token = present.card.card_token
    expected = bring_up(Held(CardRecord(token)), told, forgotten_before_ms)
    found = [Difference(token, kind, detail) for kind, detail in _card_differences(present.card, expected.card, told)]
    forgotten = {
        case_id
        for case_id, stored in present.cases.items()
        if stored.case.closed_ms is not None and stored.case.closed_ms < forgotten_before_ms
    }
    for case_id in sorted((present.cases.keys() | expected.cases.keys()) - forgotten):
        detail = _case_difference(present.cases.get(case_id), expected.cases.get(case_id), told.events.get(case_id, {}))
        if detail:
            found.append(Difference(token, "case", f"{case_id}: {detail}"))
    return found


def _card_differences(present: CardRecord, expected: CardRecord, told: ToldOfCard) -> Iterable[tuple[str, str]]:
    """What differs of the card itself."""
    if (present.state, present.sequence) != (expected.state, expected.sequence):
        theirs, ours = (f"{card.state.wire} (change {card.sequence})" for card in (expected, present))
        yield "card_state", f"topics say {theirs}, Redis {ours}"
    elif present.sequence and present.history[-1].command_id != expected.history[-1].command_id:
        yield "card_state", f"change {present.sequence} is another command in Redis than in the topics"
    if told.last_change != max(told.changes, default=0):
        yield "topic_order", f"the topic ends with change {told.last_change} instead of {max(told.changes)}"
    if present.open_case_id != expected.open_case_id:
        yield "open_case", f"topics say {expected.open_case_id}, Redis {present.open_case_id}"
    if told.damping is not None and present.damped_reasons != expected.damped_reasons:
        yield "damping", f"topics damp {len(expected.damped_reasons)} reasons, Redis {len(present.damped_reasons)}"


def _case_difference(present: StoredCase | None, expected: StoredCase | None, told: Mapping[int, CaseEvent]) -> str:
    """What differs of a case; empty where nothing does."""
    if expected is not None and max(told) != expected.case.sequence:
        return f"the topic lacks events: there are {len(told)} up to event {max(told)}"
    if expected is None:
        return "is not in the topics"
    if present is None:
        return "is not in Redis"
    if present.case.sequence != expected.case.sequence:
        return f"topics say event {expected.case.sequence}, Redis {present.case.sequence}"
    if present == expected:
        return ""
    for ours, theirs in zip(present.events, expected.events, strict=False):
        if ours != theirs:
            return f"event {theirs.sequence} differs in {_differing(ours, theirs)}"
    if len(present.events) != len(expected.events):
        return f"topics say {len(expected.events)} events, Redis has {len(present.events)}"
    return f"its events are right, but it differs from them in {_differing(present.case, expected.case)}"


def _differing(ours: CaseEvent | Case, theirs: CaseEvent | Case) -> str:
    """Names of the fields that differ; not what they hold, which may be about people."""
    names = (each.name for each in fields(theirs))
    return ", ".join(name for name in names if getattr(ours, name) != getattr(theirs, name))


def _is_persons_decision(event: CaseEvent) -> bool:
    """Whether it decides a case, which is a command on its card as well."""
    return event.type is CaseEventType.DECIDED and event.actor != SYSTEM_ACTOR


def asked_outcome(alert_id: str, action: Action, card: CardRecord, time_ms: int) -> Outcome:
    """How an alert ended whose cardholder was asked, and that is in no case."""
    return Outcome(alert_id, action, OutcomeKind.ASKED, card.state, None, time_ms)
