"""Plans: what an alert or a command does to a card and its case. Pure: snapshot and cause in, step out."""

from __future__ import annotations

from dataclasses import dataclass

from casework import records, requests, ticking
from casework.acting import check_card_order
from casework.alerts import Alert
from casework.authority import Authority, Person
from casework.cards import SYSTEM_ACTOR, AlertSummary, CardCommand, CardRecord, OutcomeKind, remember_alert
from casework.cases import Case, CaseEvent, CaseEventType, Facts, Severity
from casework.commands import Command
from casework.deeds import Scene
from casework.errors import CaseOpenError
from casework.ids import alert_step_id, case_id_of, person_case_id_of, tick_step_id
from casework.kinds import CaseKind, checked_details
from casework.playbook import CaseHandling, Playbook, Response
from casework.store import Recorded, Snapshot, Step, StoredCase
from casework.views import CardOrder, CardView, CaseView, Opening, Outcome, Preview, Told
from casework.work import Work
from detector.vocabulary import Action, CardStatus


@dataclass(frozen=True, slots=True)
class Request:
    """Which step a person's command is, the digest of what it asks, and when."""

    step_id: str
    digest: str
    now_ms: int


def plan_alert(
    snapshot: Snapshot, alert: Alert, playbook: Playbook, now_ms: int, *, may_freeze: bool = True
) -> tuple[Step, Outcome]:
    """Plan what an alert does; the step's id follows from the alert's.

    No alert changes a card that a person commanded at or after the alert's time: it is superseded, and joins the open
    case, if there is one, as one more thing to look at. A freeze that the circuit breaker holds (`may_freeze` is False)
    leaves the card alone and puts the alert into a case.
    """
    work = Work(alert_step_id(alert.alert_id), snapshot, playbook, now_ms, snapshot.case)
    response = playbook.responses[alert.action]
    kind = _outcome_of(snapshot, alert, response)
    if kind is OutcomeKind.FROZEN and not may_freeze:
        kind = OutcomeKind.HELD
    case_alert = records.case_alert(alert, kind)
    opens = response.case is CaseHandling.OPEN and kind is not OutcomeKind.SUPERSEDED
    if snapshot.case is not None and response.case is not CaseHandling.NONE:
        work.attach(snapshot.case, case_alert)
    elif snapshot.case is None and opens:
        work.open_case(case_id_of(alert.alert_id, alert.card_token), SYSTEM_ACTOR, alert=case_alert)
    joined = None if response.case is CaseHandling.NONE or work.case is None else work.case.case_id
    if kind is OutcomeKind.FROZEN:
        work.command_card(
            CardCommand(
                target=CardStatus.FROZEN,
                reason=alert.reasons[0] if alert.reasons else "alert",
                actor=SYSTEM_ACTOR,
                command_id=work.next_command_id(),
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


def plan_acts(
    scene: Scene, request: Request, stored: StoredCase, commands: tuple[Command, ...]
) -> tuple[Step, CaseView]:
    """Plan what a person does about a case.

    Raises:
        CommandError: it cannot be done; nothing of it is.
    """
    work = scene.work
    requests.carry_out(scene, commands)
    view = case_view(work.the_case, (*stored.events, *work.events), work.card.state)
    return work.step(Recorded(request=request.digest, case=view), work.playbook.answer_memory_ms), view


def plan_opening(
    request: Request, snapshot: Snapshot, opening: Opening, by: Person, playbook: Playbook
) -> tuple[Step, CaseView]:
    """Plan the case that a person opens. A card that is reported lost or stolen is frozen at once.

    Raises:
        CaseOpenError: the card has an open case.
        InvalidCommandError: the kind's fields are wrong.
    """
    if snapshot.case is not None:
        raise CaseOpenError(snapshot.case.case_id)
    details = checked_details(opening.kind, opening.details)
    work = Work(request.step_id, snapshot, playbook, request.now_ms, None)
    work.open_case(
        person_case_id_of(request.step_id, snapshot.card.card_token),
        by.name,
        kind=opening.kind,
        channel=opening.channel,
        details=details,
        note=opening.note,
    )
    facts = Facts(vulnerable=opening.vulnerable, customer_waiting=opening.customer_waiting)
    if opening.vulnerable or opening.customer_waiting:
        work.happen(CaseEventType.CUSTOMER_NOTED, by.name, facts=facts)
    if opening.kind is CaseKind.LOST_OR_STOLEN and snapshot.card.state is CardStatus.ACTIVE:
        work.command_card_by_person(CardStatus.FROZEN, str(details["circumstance"]), by.name, work.the_case.case_id)
    view = case_view(work.the_case, tuple(work.events), work.card.state)
    return work.step(Recorded(request=request.digest, case=view), playbook.answer_memory_ms), view


def plan_preview(scene: Scene, commands: tuple[Command, ...]) -> Preview:
    """Plan, and show what would come of it; of a macro, its effects.

    Raises:
        CommandError: it cannot be done.
    """
    requests.carry_out(scene, requests.spelled_out(scene, commands))
    work = scene.work
    told = tuple(Told(draft.topic, draft.ce_type, dict(draft.body)) for draft in work.drafts)
    return Preview(work.the_case, work.card.state, tuple(work.events), told)


def plan_card_order(
    request: Request, snapshot: Snapshot, order: CardOrder, playbook: Playbook, authority: Authority
) -> tuple[Step, CardView]:
    """Plan a person's command on a card.

    Raises:
        CommandError: it is not allowed, or the card cannot become that.
    """
    work = Work(request.step_id, snapshot, playbook, request.now_ms, snapshot.case)
    check_card_order(work, order, authority)
    work.command_card_by_person(order.target, order.reason, order.by.name, snapshot.card.open_case_id)
    view = card_view(work.card, work.case)
    return work.step(Recorded(request=request.digest, card=view), playbook.answer_memory_ms), view


def plan_tick(snapshot: Snapshot, case: Case, playbook: Playbook, authority: Authority, now_ms: int) -> Step | None:
    """Plan what time does to a case; None where it does nothing yet."""
    work = Work(tick_step_id(case.case_id, case.sequence), snapshot, playbook, now_ms, case)
    ticking.pass_time(work, authority)
    if not work.events:
        return None
    return work.step(Recorded(request=work.step_id), playbook.answer_memory_ms)


def plan_call(step_id: str, snapshot: Snapshot, case: Case, playbook: Playbook, note: str, now_ms: int) -> Step:
    """Plan that somebody calls the cardholder."""
    work = Work(step_id, snapshot, playbook, now_ms, case)
    facts = Facts(call_due=True, severity=max(case.severity, Severity.HIGH))
    work.happen(CaseEventType.CALL_DUE, SYSTEM_ACTOR, note=note, facts=facts)
    return work.step(Recorded(request=step_id), playbook.outcome_memory_ms)


def after(step: Step, snapshot: Snapshot) -> Snapshot:
    """The snapshot that holds once a step planned on `snapshot` is carried out."""
    case = snapshot.case if step.case is None else step.case
    return Snapshot(step.card, step.version_after, case if case is not None and case.is_open else None)


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
