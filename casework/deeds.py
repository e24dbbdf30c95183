"""What each command does. Pure: a scene and a command in, events and drafts out. `acting` says whether it may."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from casework import commands as do
from casework.authority import Act, Authority, Person
from casework.cases import Case, CaseEventType, CaseState, Facts, Severity
from casework.errors import (
    IllegalCaseMoveError,
    InvalidCommandError,
)
from casework.ids import order_id_of
from casework.kinds import CaseKind, check_outcome, checked_details
from casework.labels import damp, label_drafts
from casework.lifecycle import CHOSEN_STATES, can_become, possible_from
from casework.notices import CODE_NONCE, MINUTES
from casework.orders import directive_draft, order_draft
from casework.playbook import CODE_TEMPLATE
from casework.verification import (
    Method,
    answer_challenge,
    begin_code,
    begin_knowledge,
    forgotten,
    record_seen,
    without_payments,
)
from casework.work import Work
from detector.vocabulary import CardStatus, Label, LabelSource

HIGHEST_TIER = 3
_MINUTE_MS = 60_000
_DAY_MS = 86_400_000


@dataclass(slots=True)
class Scene:
    """Who acts, in which step, by which rules.

    Attributes:
        key: the installation's, for codes.
        nonce: randomness of this request, not to be guessed.
        verified_at_ms: the time at which identity must have been verified: now, or when consent was asked for.
        consented: whether a second person has agreed.
        orders: how many were given so far.
    """

    work: Work
    by: Person
    authority: Authority
    key: bytes
    nonce: str
    verified_at_ms: int
    consented: bool = False
    orders: int = 0

    @property
    def case(self) -> Case:
        """The case."""
        return self.work.the_case

    def happen(self, kind: CaseEventType, **said: Any) -> Case:
        """Let an event by this person happen."""
        return self.work.happen(kind, self.by.name, **said)

    def order(self, told: dict[str, Any]) -> None:
        """Give a one-off order."""
        order_id = order_id_of(self.work.step_id, self.orders)
        self.orders += 1
        case = self.happen(CaseEventType.ORDERED, told={"order_id": order_id, **told})
        self.work.drafts.append(
            order_draft(
                order_id,
                case.card_token,
                told,
                case_id=case.case_id,
                actor=self.by.name,
                time_ms=self.work.now_ms,
            )
        )

    def direct(self, told: dict[str, Any]) -> None:
        """Tell the scorer something of the card."""
        whole = {"kind": told["kind"], "card_token": self.case.card_token, **told}
        self.happen(CaseEventType.DIRECTED, told=whole)
        self.work.drafts.append(directive_draft(whole))


def move(scene: Scene, command: do.Move) -> None:
    """Put the case into a working state; its clock runs, or has done its work."""
    if command.state not in CHOSEN_STATES:
        raise IllegalCaseMoveError(scene.case.state, [s for s in possible_from(scene.case.state) if s in CHOSEN_STATES])
    if command.state is scene.case.state:
        return
    facts = Facts()
    clocks, clock = scene.work.playbook.clocks, scene.case.clock
    if clock is not None and command.state is CaseState.FOLLOWING_UP:
        facts = Facts(clock=clocks.stop(clock, scene.work.now_ms))
    elif clock is not None:
        facts = Facts(clock=clocks.run(clock, scene.work.now_ms))
    if scene.case.state is CaseState.WAITING:
        facts = Facts(clock=facts.clock, resumes=None, returns_ms=None)
    scene.happen(CaseEventType.MOVED, state=command.state, facts=facts)


def note(scene: Scene, command: do.Note) -> None:
    """Write something down."""
    scene.happen(CaseEventType.NOTED, note=command.text)


def take(scene: Scene, _command: do.Take) -> None:
    """Lock the case for this person."""
    until_ms = scene.work.now_ms + scene.work.playbook.lock_ms
    scene.happen(CaseEventType.TAKEN, facts=Facts(owner=scene.by.name, locked_until_ms=until_ms))


def release(scene: Scene, _command: do.Release) -> None:
    """Let the case go."""
    if scene.case.owner is not None:
        scene.happen(CaseEventType.RELEASED, facts=Facts(owner=None, locked_until_ms=0))


def assign(scene: Scene, command: do.Assign) -> None:
    """Lock the case for somebody else."""
    until_ms = scene.work.now_ms + scene.work.playbook.lock_ms
    scene.happen(CaseEventType.ASSIGNED, facts=Facts(owner=command.owner, locked_until_ms=until_ms))


def describe(scene: Scene, command: do.Describe) -> None:
    """Say more of the kind's own fields."""
    details = checked_details(scene.case.kind, command.details, scene.case.details)
    scene.happen(CaseEventType.DETAILED, facts=Facts(details=details))


def customer(scene: Scene, command: do.Customer) -> None:
    """Note what the customer needs."""
    if command.waiting is None and command.vulnerable is None:
        message = "customer must say waiting or vulnerable"
        raise InvalidCommandError(message)
    case = scene.case
    facts = Facts(
        customer_waiting=case.customer_waiting if command.waiting is None else command.waiting,
        vulnerable=case.vulnerable if command.vulnerable is None else command.vulnerable,
    )
    scene.happen(CaseEventType.CUSTOMER_NOTED, facts=facts)


def set_severity(scene: Scene, command: do.SetSeverity) -> None:
    """Say how much the case matters."""
    if command.severity < scene.case.severity:
        scene.authority.require(scene.by, Act.SEVERITY_LOWER)
    scene.happen(CaseEventType.SEVERITY_SET, note=command.reason, facts=Facts(severity=command.severity))


def snooze(scene: Scene, command: do.Snooze) -> None:
    """Let the case wait."""
    case, now_ms, playbook = scene.case, scene.work.now_ms, scene.work.playbook
    if not now_ms < command.until_ms <= now_ms + playbook.longest_snooze_ms:
        message = f"until_ms must be within {playbook.longest_snooze_ms // _DAY_MS} days from now"
        raise InvalidCommandError(message)
    clock = case.clock
    if clock is not None and command.for_customer:
        clock = playbook.clocks.pause(clock, now_ms)
    resumes = case.resumes if case.state is CaseState.WAITING else case.state
    scene.happen(
        CaseEventType.SNOOZED,
        state=CaseState.WAITING,
        note=command.reason,
        facts=Facts(
            resumes=resumes,
            returns_ms=command.until_ms,
            clock=clock,
            customer_waiting=False,
            owner=None,
            locked_until_ms=0,
        ),
    )


def return_(scene: Scene, _command: do.Return) -> None:
    """Take a waiting case up again."""
    if scene.case.state is not CaseState.WAITING:
        raise IllegalCaseMoveError(scene.case.state, possible_from(scene.case.state))
    come_back(scene.work, scene.by.name)


def come_back(work: Work, actor: str) -> None:
    """Let a waiting case go on where it was; its clock runs on."""
    case = work.the_case
    resumes = case.resumes
    # A new case that waited was waited for: it is being worked on.
    state = resumes if resumes is not None and can_become(CaseState.WAITING, resumes) else CaseState.CONTACTING
    clock = None if case.clock is None else work.playbook.clocks.run(case.clock, work.now_ms)
    work.happen(CaseEventType.RETURNED, actor, state=state, facts=Facts(resumes=None, returns_ms=None, clock=clock))


def escalate_case(scene: Scene, command: do.Escalate) -> None:
    """Hand the case to the next tier."""
    escalate(scene.work, scene.by.name, CaseEventType.ESCALATED, command.reason)


def escalate(work: Work, actor: str, kind: CaseEventType, reason: str | None) -> None:
    """Hand the case to the next tier; whoever worked on it is free."""
    case = work.the_case
    clock = None if case.clock is None else work.playbook.clocks.run(case.clock, work.now_ms)
    if clock is not None and kind is CaseEventType.TARGET_MISSED:
        clock = work.playbook.clocks.missed(clock)
    work.happen(
        kind,
        actor,
        state=CaseState.ESCALATED,
        note=reason,
        facts=Facts(
            tier=min(case.tier + 1, HIGHEST_TIER),
            severity=Severity(min(case.severity + 1, Severity.URGENT)),
            resumes=None,
            returns_ms=None,
            clock=clock,
            owner=None,
            locked_until_ms=0,
        ),
    )


def verify_begin(scene: Scene, command: do.VerifyBegin) -> None:
    """Ask the cardholder."""
    case, now_ms, rules = scene.case, scene.work.now_ms, scene.work.playbook.verification
    if command.method is Method.CODE:
        verification = begin_code(case.verification, rules, scene.key, scene.nonce, now_ms)
    elif command.method is Method.KNOWLEDGE:
        payments = without_payments(scene.work.card.payments, case.transaction_ids, scene.work.alerted_times_ms())
        verification = begin_knowledge(case.verification, rules, scene.key, scene.nonce, payments, now_ms)
    else:
        message = "method must be code or knowledge where something is asked"
        raise InvalidCommandError(message)
    state = CaseState.VERIFYING if can_become(case.state, CaseState.VERIFYING) else case.state
    scene.happen(CaseEventType.VERIFICATION_ASKED, state=state, note=command.method,
                 facts=Facts(verification=verification))  # fmt: skip
    if command.method is Method.CODE:
        minutes = rules.terms[Method.CODE].answer_within_ms // _MINUTE_MS
        scene.work.notify(CODE_TEMPLATE, {CODE_NONCE: scene.nonce, MINUTES: minutes})


def verify_answer(scene: Scene, command: do.VerifyAnswer) -> None:
    """Take the cardholder's answer."""
    case, rules = scene.case, scene.work.playbook.verification
    verification = answer_challenge(
        case.verification, rules, scene.key, command.answer, scene.by.name, scene.work.now_ms
    )
    is_right = verification.holds(scene.work.now_ms)
    kind = CaseEventType.VERIFIED if is_right else CaseEventType.VERIFICATION_FAILED
    asked = case.verification.challenge
    note = None if asked is None else asked.method.value
    scene.happen(kind, note=note, facts=Facts(verification=verification))


def verify_seen(scene: Scene, command: do.VerifySeen) -> None:
    """Record what the agent saw."""
    verification = record_seen(
        scene.case.verification,
        scene.work.playbook.verification,
        command.method,
        scene.by.name,
        scene.work.now_ms,
    )
    scene.happen(CaseEventType.VERIFIED, note=command.method, facts=Facts(verification=verification))


def cardholder_answer(scene: Scene, command: do.CardholderAnswer) -> None:
    """Record what the cardholder says of a payment."""
    case = scene.case
    if command.transaction_id not in case.transaction_ids:
        message = "transaction_id must be one of the case's"
        raise InvalidCommandError(message)
    scene.happen(
        CaseEventType.CARDHOLDER_ANSWERED,
        told={"transaction_id": command.transaction_id, "mine": command.mine},
    )
    label = Label.GENUINE if command.mine else Label.FRAUD
    scene.work.drafts.extend(
        label_drafts(case, label, scene.work.now_ms, (command.transaction_id,), LabelSource.CARDHOLDER, scene.by.name)
    )
    if command.code is not None:
        verify_answer(scene, do.VerifyAnswer(command.code))


def command_card(target: CardStatus) -> Callable[[Scene, Any], None]:
    """What sets a card's state, for the reason that a command gives."""

    def act(scene: Scene, command: do.Freeze | do.Unfreeze | do.Block) -> None:
        scene.work.command_card_by_person(target, command.reason, scene.by.name, scene.case.case_id)

    return act


def reissue(scene: Scene, command: do.Reissue) -> None:
    """Order a new card."""
    new_card_token = command.new_card_token or f"tok_{scene.nonce}"[:64]
    if new_card_token == scene.case.card_token:
        message = "new_card_token must be another card"
        raise InvalidCommandError(message)
    scene.work.command_card_by_person(CardStatus.REISSUED, command.reason, scene.by.name, scene.case.case_id)
    scene.order({"type": "reissue", "new_card_token": new_card_token, "reason": command.reason})
    scene.direct({"kind": "inherit", "new_card_token": new_card_token})


def change_limit(scene: Scene, command: do.LowerLimit | do.ChangeLimit) -> None:
    """Order another limit."""
    told: dict[str, Any] = {
        "type": "limit_change",
        "limit_minor": command.limit_minor,
        "currency": command.currency,
        "direction": "lower" if isinstance(command, do.LowerLimit) else "any",
    }
    if command.until_ms is not None:
        told["until_ms"] = command.until_ms
    scene.order(told)


def accept_dispute(scene: Scene, command: do.AcceptDispute) -> None:
    """Order a provisional credit."""
    case = scene.case
    if case.kind is not CaseKind.DISPUTE:
        message = "accept_dispute is for cases of kind dispute"
        raise InvalidCommandError(message)
    scene.order(
        {
            "type": "provisional_credit",
            "transaction_id": case.details["transaction_id"],
            "amount_minor": case.details["amount_minor"],
            "currency": case.details["currency"],
            "reason": command.reason,
        }
    )


def watch(scene: Scene, command: do.Watch) -> None:
    """Have the card's payments reviewed."""
    scene.direct({"kind": "watch", "until_ms": scene.work.now_ms + command.days * _DAY_MS})


def allow_merchant(scene: Scene, command: do.AllowMerchant) -> None:
    """Let the card pay at a merchant."""
    _check_ahead(scene, command.until_ms)
    scene.direct({"kind": "allow_merchant", "merchant_id": command.merchant_id, "until_ms": command.until_ms})


def travel(scene: Scene, command: do.Travel) -> None:
    """Note that the cardholder travels."""
    _check_ahead(scene, command.until_ms)
    scene.direct({"kind": "travel", "countries": list(command.countries), "until_ms": command.until_ms})


def _check_ahead(scene: Scene, until_ms: int) -> None:
    longest_ms = scene.work.playbook.longest_allowance_ms
    if until_ms > scene.work.now_ms + longest_ms:
        message = f"until_ms must be within {longest_ms // _DAY_MS} days from now"
        raise InvalidCommandError(message)


def decide(scene: Scene, command: do.Decide) -> None:
    """Label payments, and damp the reasons that were wrong."""
    case, work = scene.case, scene.work
    named = command.transaction_ids or case.transaction_ids
    scene.happen(CaseEventType.DECIDED, disposition=command.disposition, note=command.note)
    resolution = work.playbook.resolutions[command.disposition]
    work.drafts.extend(label_drafts(case, resolution.label, work.now_ms, named, LabelSource.AGENT, scene.by.name))
    work.card, directives = damp(work.card, case.reasons, resolution.damp_ms, work.now_ms)
    work.drafts.extend(directives)


def close(scene: Scene, command: do.Close) -> None:
    """End the case."""
    case, work = scene.case, scene.work
    check_outcome(case.kind, command.outcome)
    if case.kind is CaseKind.FRAUD_ALERT and case.disposition is None:
        message = "a fraud alert is decided before it is closed"
        raise InvalidCommandError(message)
    clock = None if case.clock is None else work.playbook.clocks.stop(case.clock, work.now_ms)
    scene.happen(
        CaseEventType.CLOSED,
        state=CaseState.CLOSED,
        note=command.note,
        facts=Facts(
            outcome=command.outcome,
            clock=clock,
            customer_waiting=False,
            verification=forgotten(case.verification),
            approval=None,
            pending=None,
            resumes=None,
            returns_ms=None,
            owner=None,
            locked_until_ms=0,
        ),
    )
    work.let_card_go()


def reopen(scene: Scene, command: do.Reopen) -> None:
    """Take a closed case up again."""
    work, case = scene.work, scene.case
    target = work.playbook.clocks.target(case.channel, case.kind, case.action)
    work.hold_card(case.case_id)
    scene.happen(
        CaseEventType.REOPENED,
        state=CaseState.REOPENED,
        note=command.reason,
        facts=Facts(
            outcome=None,
            clock=work.playbook.clocks.start(target, work.now_ms),
            owner=scene.by.name,
            locked_until_ms=work.now_ms + work.playbook.lock_ms,
        ),
    )
