"""Plans: what an alert or a command does to a card and its case. Pure: snapshot and cause in, step out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from casework import records
from casework.alerts import Alert
from casework.cards import (
    MAXIMUM_KNOWN_CASES,
    SYSTEM_ACTOR,
    AlertSummary,
    CardChange,
    CardCommand,
    CardRecord,
    OutcomeKind,
    change_card,
    remember_alert,
)
from casework.cases import Case, CaseAlert, CaseEvent, CaseEventType, CaseState, fold
from casework.errors import IllegalCaseMoveError
from casework.ids import alert_step_id, case_id_of, command_id_of, notification_id_of
from casework.labels import damp, label_drafts
from casework.notices import Notice
from casework.outbox import Draft, messages_of
from casework.playbook import CaseHandling, Playbook, Response
from casework.store import Recorded, Snapshot, Step
from casework.views import CardAction, CardOrder, CardView, CaseView, Outcome, Override
from detector.vocabulary import Action, CardStatus

_CARD_ACTIONS = {
    CardAction.UNFREEZE: CardStatus.ACTIVE,
    CardAction.FREEZE: CardStatus.FROZEN,
    CardAction.BLOCK: CardStatus.BLOCKED,
}


@dataclass(frozen=True, slots=True)
class Request:
    """Which step a person's command is, the digest of what it asks, and when."""

    step_id: str
    digest: str
    now_ms: int


@dataclass(slots=True)
class _Work:
    """A step in the making. Each method does one thing to card and case, and drafts what must be told of it."""

    step_id: str
    snapshot: Snapshot
    playbook: Playbook
    now_ms: int
    card: CardRecord = field(init=False)
    case: Case | None = field(init=False)
    events: list[CaseEvent] = field(default_factory=list)
    drafts: list[Draft] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin with the card and case as they are."""
        self.card = self.snapshot.card
        self.case = self.snapshot.case

    def open_case(self, case_id: str, alert: CaseAlert) -> None:
        """Open a case with the alert that asks for it."""
        known = (*self.card.case_ids, case_id)[-MAXIMUM_KNOWN_CASES:]
        self.card = replace(self.card, open_case_id=case_id, case_ids=known)
        self._happen(
            CaseEvent(
                case_id=case_id,
                card_token=self.card.card_token,
                sequence=1,
                type=CaseEventType.OPENED,
                state=CaseState.NEW,
                actor=SYSTEM_ACTOR,
                time_ms=self.now_ms,
                alert=alert,
            )
        )

    def attach(self, case: Case, alert: CaseAlert) -> None:
        """Let the alert join the open case. A full case stays as it is."""
        if not case.is_full:
            self._happen(replace(self._next(case, CaseEventType.ALERT_ATTACHED, SYSTEM_ACTOR), alert=alert))

    def command_card(self, command: CardCommand) -> CardChange:
        """Set the card's state; the open case notes it."""
        self.card, change = change_card(self.card, command, self.now_ms)
        self.drafts.append(records.card_state_draft(self.card.card_token, change))
        if self.case is not None:
            self._happen(replace(self._next(self.case, CaseEventType.CARD_CHANGED, command.actor), card_change=change))
        return change

    def close_case(self, case: Case, command: Override) -> None:
        """Note the person's decision and close the case."""
        decided = self._next(case, CaseEventType.DECIDED, command.actor)
        case = self._happen(replace(decided, disposition=command.disposition, note=command.note))
        if command.card_action is not CardAction.KEEP:
            self.command_card_by_person(
                _CARD_ACTIONS[command.card_action], str(command.disposition), command.actor, case.case_id
            )
            case = self.case or case
        self._happen(replace(self._next(case, CaseEventType.CLOSED, command.actor), state=CaseState.CLOSED))
        self.card = replace(
            self.card,
            open_case_id=None,
            # Deciding to leave the card as it is, is a command too: no older alert shall change it.
            person_command_time_ms=max(self.now_ms, self.card.person_command_time_ms or 0),
        )

    def command_card_by_person(self, target: CardStatus, reason: str, actor: str, case_id: str | None) -> None:
        """Set the card's state for a person, and tell the cardholder if it is another one now."""
        before = self.card.state
        self.command_card(
            CardCommand(target, reason, actor, command_id_of(self.step_id), by_person=True, case_id=case_id)
        )
        template = self.playbook.card_notices.get(target)
        if template is not None and target is not before:
            self.notify(template, {})

    def notify(self, template: str, parameters: dict[str, str | int]) -> None:
        """Tell the cardholder."""
        notice = Notice(
            notification_id=notification_id_of(self.step_id),
            card_token=self.card.card_token,
            channel=self.playbook.channel,
            locale=self.playbook.locale,
            template=template,
            parameters=parameters,
            time_ms=self.now_ms,
            case_id=None if self.case is None else self.case.case_id,
        )
        self.drafts.append(records.notice_draft(notice))

    def step(self, recorded: Recorded, memory_ms: int, traceparent: str | None = None) -> Step:
        """The finished step."""
        return Step(
            step_id=self.step_id,
            version_before=self.snapshot.version,
            card=self.card,
            case_before=self.snapshot.case if self.events else None,
            case=self.case if self.events else None,
            events=tuple(self.events),
            recorded=recorded,
            recorded_memory_ms=memory_ms,
            closed_memory_ms=self.playbook.closed_case_memory_ms,
            messages=messages_of(self.step_id, self.now_ms, self.drafts, traceparent),
            time_ms=self.now_ms,
        )

    def _next(self, case: Case, kind: CaseEventType, actor: str) -> CaseEvent:
        """The case's next event; it keeps the case's state."""
        return CaseEvent(
            case_id=case.case_id,
            card_token=case.card_token,
            sequence=case.sequence + 1,
            type=kind,
            state=case.state,
            actor=actor,
            time_ms=self.now_ms,
        )

    def _happen(self, event: CaseEvent) -> Case:
        """Let an event happen to the case."""
        self.case = fold(self.case, event)
        self.events.append(event)
        self.drafts.append(records.case_event_draft(event))
        return self.case


def plan_alert(
    snapshot: Snapshot, alert: Alert, playbook: Playbook, now_ms: int, *, may_freeze: bool = True
) -> tuple[Step, Outcome]:
    """Plan what an alert does; the step's id follows from the alert's.

    No alert changes a card that a person commanded at or after the alert's time: it is superseded, and joins the open
    case, if there is one, as one more thing to look at. A freeze that the circuit breaker holds (`may_freeze` is False)
    leaves the card alone and puts the alert into a case.
    """
    work = _Work(alert_step_id(alert.alert_id), snapshot, playbook, now_ms)
    response = playbook.responses[alert.action]
    kind = _outcome_of(snapshot, alert, response)
    if kind is OutcomeKind.FROZEN and not may_freeze:
        kind = OutcomeKind.HELD
    case_alert = records.case_alert(alert, kind)
    opens = response.case is CaseHandling.OPEN and kind is not OutcomeKind.SUPERSEDED
    if snapshot.case is not None and response.case is not CaseHandling.NONE:
        work.attach(snapshot.case, case_alert)
    elif snapshot.case is None and opens:
        work.open_case(case_id_of(alert.alert_id, alert.card_token), case_alert)
    joined = None if response.case is CaseHandling.NONE or work.case is None else work.case.case_id
    if kind is OutcomeKind.FROZEN:
        work.command_card(
            CardCommand(
                target=CardStatus.FROZEN,
                reason=alert.reasons[0] if alert.reasons else "alert",
                actor=SYSTEM_ACTOR,
                command_id=command_id_of(work.step_id),
                by_person=False,
                alert_id=alert.alert_id,
                case_id=joined,
            )
        )
    if response.notice is not None and (alert.action is not Action.FREEZE or kind is OutcomeKind.FROZEN):
        work.notify(response.notice, records.payment_parameters(alert))
    summary = AlertSummary(
        alert_id=alert.alert_id,
        transaction_id=alert.transaction_id,
        action=alert.action,
        event_time_ms=alert.event_time_ms,
        time_ms=alert.time_ms,
        score=alert.score,
        reasons=alert.reasons,
        outcome=kind,
        case_id=joined,
    )
    work.card = remember_alert(work.card, summary, alert.last_payments)
    outcome = Outcome(alert.alert_id, alert.action, kind, work.card.state, joined, now_ms)
    recorded = Recorded(request=alert.alert_id, outcome=outcome)
    return work.step(recorded, playbook.outcome_memory_ms, alert.traceparent), outcome


def _outcome_of(snapshot: Snapshot, alert: Alert, response: Response) -> OutcomeKind:
    """How the alert ends."""
    if alert.action is Action.FREEZE:
        commanded_ms = snapshot.card.person_command_time_ms
        if commanded_ms is not None and alert.time_ms <= commanded_ms:
            return OutcomeKind.SUPERSEDED
        return OutcomeKind.FROZEN if snapshot.card.state is CardStatus.ACTIVE else OutcomeKind.ATTACHED
    if response.case is CaseHandling.OPEN and snapshot.case is None:
        return OutcomeKind.REVIEW_OPENED
    if response.notice is not None:
        return OutcomeKind.ASKED
    joins = response.case is not CaseHandling.NONE and snapshot.case is not None
    return OutcomeKind.ATTACHED if joins else OutcomeKind.RECORDED


def plan_override(
    request: Request, snapshot: Snapshot, events: tuple[CaseEvent, ...], command: Override, playbook: Playbook
) -> tuple[Step, CaseView]:
    """Plan a person's decision on the card's open case, whose events so far are given.

    Raises:
        IllegalMoveError: the case is not open, or the card cannot become what is asked.
    """
    case = snapshot.case
    if case is None:
        raise IllegalCaseMoveError(CaseState.CLOSED, [])
    work = _Work(request.step_id, snapshot, playbook, request.now_ms)
    work.close_case(case, command)
    resolution = playbook.resolutions[command.disposition]
    work.drafts.extend(label_drafts(case, resolution.label, command.actor, request.now_ms))
    work.card, directives = damp(work.card, case.reasons, resolution.damp_ms, request.now_ms)
    work.drafts.extend(directives)
    view = case_view(work.case or case, (*events, *work.events), work.card.state)
    return work.step(Recorded(request=request.digest, case=view), playbook.answer_memory_ms), view


def plan_card_order(
    request: Request, snapshot: Snapshot, order: CardOrder, playbook: Playbook
) -> tuple[Step, CardView]:
    """Plan a person's command on a card.

    Raises:
        IllegalCardMoveError: the card cannot become that.
    """
    work = _Work(request.step_id, snapshot, playbook, request.now_ms)
    work.command_card_by_person(order.target, order.reason, order.actor, snapshot.card.open_case_id)
    view = card_view(work.card, work.case)
    return work.step(Recorded(request=request.digest, card=view), playbook.answer_memory_ms), view


def after(step: Step, snapshot: Snapshot) -> Snapshot:
    """The snapshot that holds once a step planned on `snapshot` is carried out."""
    case = snapshot.case if step.case is None else step.case
    return Snapshot(step.card, step.step_id, case if case is not None and case.is_open else None)


def card_view(card: CardRecord, case: Case | None) -> CardView:
    """Show a card with its open case."""
    return CardView(
        card_token=card.card_token,
        state=card.state,
        sequence=card.sequence,
        history=card.history[::-1],
        alerts=card.alerts[::-1],
        payments=card.payments,
        open_case=case,
        case_ids=card.case_ids[::-1],
        damped_reasons=card.damped_reasons,
        damped_until_ms=card.damped_until_ms,
    )


def case_view(case: Case, events: tuple[CaseEvent, ...], card_state: CardStatus) -> CaseView:
    """Show a case with what its events hold."""
    alerts = tuple(event.alert for event in events if event.alert is not None)
    with_payments = [alert for alert in alerts if alert.payments]
    newest = max(with_payments, key=lambda alert: alert.time_ms, default=None)
    return CaseView(
        case=case,
        card_state=card_state,
        alerts=alerts,
        payments=() if newest is None else newest.payments,
        timeline=events,
    )
