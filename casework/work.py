"""A step in the making: each method does one thing to a card and its case, and drafts what must be told of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import msgspec

from casework import records
from casework.cards import (
    MAXIMUM_KNOWN_CASES,
    SYSTEM_ACTOR,
    CardChange,
    CardCommand,
    CardRecord,
    change_card,
)
from casework.cases import (
    ENDS_CALL,
    Case,
    CaseAlert,
    CaseEvent,
    CaseEventType,
    CaseState,
    Contact,
    Facts,
    Severity,
    fold,
)
from casework.errors import CaseOpenError, IllegalCaseMoveError
from casework.ids import command_id_of, notification_id_of
from casework.kinds import CaseKind, Details
from casework.notices import Notice
from casework.outbox import Draft, messages_of
from casework.playbook import Playbook
from casework.store import Recorded, Snapshot, Step
from detector.vocabulary import Action, CardStatus, Flag

RANDOM_REVIEW = str(Flag.RANDOM_REVIEW.name).lower()


@dataclass(slots=True)
class Work:
    """A step in the making.

    Attributes:
        snapshot: the card as it is.
        case: the case that is worked on: the card's open one, unless another is given.
    """

    step_id: str
    snapshot: Snapshot
    playbook: Playbook
    now_ms: int
    case: Case | None
    card: CardRecord = field(init=False)
    events: list[CaseEvent] = field(default_factory=list)
    drafts: list[Draft] = field(default_factory=list)
    _case_before: Case | None = field(init=False)
    _commands: int = 0
    _notices: int = 0

    def __post_init__(self) -> None:
        """Begin with the card and case as they are."""
        self.card = self.snapshot.card
        self._case_before = self.case

    @property
    def the_case(self) -> Case:
        """The case.

        Raises:
            IllegalCaseMoveError: there is none that is open.
        """
        if self.case is None:
            raise IllegalCaseMoveError(CaseState.CLOSED, [])
        return self.case

    # ----------------------------------------------------------------------------------------------------------- case

    def open_case(
        self,
        case_id: str,
        actor: str,
        *,
        alert: CaseAlert | None = None,
        kind: CaseKind = CaseKind.FRAUD_ALERT,
        channel: Contact = Contact.NONE,
        details: Details | None = None,
        note: str | None = None,
    ) -> None:
        """Open a case, by an alert or by a person."""
        known = (*self.card.case_ids, case_id)[-MAXIMUM_KNOWN_CASES:]
        self.card = replace(self.card, open_case_id=case_id, case_ids=known)
        action = Action.ALLOW if alert is None else alert.action
        target = self.playbook.clocks.target(channel, kind, action)
        facts = Facts(
            kind=kind,
            channel=channel,
            details=details or {},
            severity=self._severity(alert, kind),
            clock=self.playbook.clocks.start(target, self.now_ms),
        )
        event = CaseEvent(
            case_id=case_id,
            card_token=self.card.card_token,
            sequence=1,
            type=CaseEventType.OPENED,
            state=CaseState.NEW,
            actor=actor,
            time_ms=self.now_ms,
            alert=alert,
            note=note,
            facts=facts,
        )
        self._take_in(None, event)

    def attach(self, case: Case, alert: CaseAlert) -> None:
        """Let the alert join the open case, and make it as urgent as it is itself. A full case stays as it is."""
        if case.is_full:
            return
        clocks = self.playbook.clocks
        clock = case.clock
        if clock is not None and alert.action > case.action:
            clock = clocks.shortened(clock, clocks.target(case.channel, case.kind, alert.action), self.now_ms)
        severity = max(case.severity, self._severity(alert, case.kind))
        facts = Facts(severity=severity) if clock == case.clock else Facts(severity=severity, clock=clock)
        self.happen(CaseEventType.ALERT_ATTACHED, SYSTEM_ACTOR, alert=alert, facts=facts)

    def happen(
        self,
        kind: CaseEventType,
        actor: str,
        *,
        state: CaseState | None = None,
        facts: Facts | None = None,
        **said: object,
    ) -> Case:
        """Let an event happen to the case; without `state` it keeps its state.

        Args:
            kind: what happens.
            actor: who does it; somebody who holds the case's lock keeps it for longer.
            state: of the case afterwards.
            facts: what it sets.
            said: further fields of the event.

        Raises:
            IllegalCaseMoveError: the lifecycle forbids it.
        """
        case = self.the_case
        given = facts or Facts()
        if case.owner == actor and given.locked_until_ms is msgspec.UNSET:
            given = msgspec.structs.replace(given, locked_until_ms=self.now_ms + self.playbook.lock_ms)
        if case.call_due and kind in ENDS_CALL:
            given = msgspec.structs.replace(given, call_due=False)
        event = CaseEvent(
            case_id=case.case_id,
            card_token=case.card_token,
            sequence=case.sequence + 1,
            type=kind,
            state=case.state if state is None else state,
            actor=actor,
            time_ms=self.now_ms,
            facts=given,
        )
        return self._take_in(case, replace(event, **said))  # type: ignore[arg-type]

    def _take_in(self, case: Case | None, event: CaseEvent) -> Case:
        """Fold an event in, with what it does to the case's urgency."""
        after = fold(case, event)
        urgency_ms = self.playbook.urgency.of(after)
        if urgency_ms != after.urgency_ms:
            event = replace(event, facts=msgspec.structs.replace(event.facts, urgency_ms=urgency_ms))
            after = fold(case, event)
        self.case = after
        self.events.append(event)
        self.drafts.append(records.case_event_draft(event))
        return after

    def _severity(self, alert: CaseAlert | None, kind: CaseKind) -> Severity:
        """How much an alert, or a kind of case, matters at first."""
        if alert is None:
            return self.playbook.kind_severity[kind]
        # Chosen by chance among what was allowed: it waits its turn behind everything that spoke for itself.
        is_sample = RANDOM_REVIEW in alert.flags
        return Severity.LOW if is_sample else self.playbook.action_severity[alert.action]

    # ----------------------------------------------------------------------------------------------------------- card

    def command_card(self, command: CardCommand) -> CardChange:
        """Set the card's state; the open case notes it."""
        self.card, change = change_card(self.card, command, self.now_ms)
        self.drafts.append(records.card_state_draft(self.card.card_token, change))
        if self.case is not None and self.case.is_open:
            self.happen(CaseEventType.CARD_CHANGED, command.actor, card_change=change)
        return change

    def next_command_id(self) -> str:
        """The id of the step's next command to the card."""
        self._commands += 1
        return command_id_of(self.step_id, self._commands - 1)

    def command_card_by_person(self, target: CardStatus, reason: str, actor: str, case_id: str | None) -> None:
        """Set the card's state for a person, and tell the cardholder if it is another one now."""
        before = self.card.state
        self.command_card(CardCommand(target, reason, actor, self.next_command_id(), by_person=True, case_id=case_id))
        template = self.playbook.card_notices.get(target)
        if template is not None and target is not before:
            self.notify(template, {})

    def notify(self, template: str, parameters: dict[str, str | int]) -> None:
        """Tell the cardholder."""
        self._notices += 1
        notice = Notice(
            notification_id=notification_id_of(self.step_id, self._notices - 1),
            card_token=self.card.card_token,
            channel=self.playbook.channel,
            locale=self.playbook.locale,
            template=template,
            parameters=parameters,
            time_ms=self.now_ms,
            case_id=None if self.case is None else self.case.case_id,
        )
        self.drafts.append(records.notice_draft(notice))

    def let_card_go(self) -> None:
        """The card has no open case any more. To leave it as it is, is a command too: no older alert changes it."""
        self.card = replace(
            self.card,
            open_case_id=None,
            person_command_time_ms=max(self.now_ms, self.card.person_command_time_ms or 0),
        )

    def hold_card(self, case_id: str) -> None:
        """The card's open case is this one again.

        Raises:
            CaseOpenError: it has another one.
        """
        if self.card.open_case_id is not None:
            raise CaseOpenError(self.card.open_case_id)
        known = case_id in self.card.case_ids
        case_ids = self.card.case_ids if known else (*self.card.case_ids, case_id)[-MAXIMUM_KNOWN_CASES:]
        self.card = replace(self.card, open_case_id=case_id, case_ids=case_ids)

    def alerted_times_ms(self) -> tuple[int, ...]:
        """Times of payments that alerts of the card are about."""
        return tuple(alert.event_time_ms for alert in self.card.alerts)

    def take_over(self, tried: Work) -> None:
        """Go on from where another work on the same snapshot has come to."""
        self.card, self.case, self.events, self.drafts = tried.card, tried.case, tried.events, tried.drafts
        self._commands, self._notices = tried._commands, tried._notices

    # ----------------------------------------------------------------------------------------------------------- step

    def step(self, recorded: Recorded, memory_ms: int, traceparent: str | None = None) -> Step:
        """The finished step."""
        return Step(
            step_id=self.step_id,
            version_before=self.snapshot.version,
            card=self.card,
            case_before=self._case_before if self.events else None,
            case=self.case if self.events else None,
            events=tuple(self.events),
            recorded=recorded,
            recorded_memory_ms=memory_ms,
            closed_memory_ms=self.playbook.closed_case_memory_ms,
            messages=messages_of(self.step_id, self.now_ms, self.drafts, traceparent),
            time_ms=self.now_ms,
        )
