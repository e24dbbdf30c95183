"""What people do about cases, on every store: one step each, by the rules, all of it or nothing."""

from __future__ import annotations

from typing import Any

import pytest

from casework import commands as do
from casework.authority import Person, Role
from casework.cases import CaseEventType, CaseState, Contact, Disposition, Severity
from casework.commands import Command
from casework.desk import Desk
from casework.errors import (
    CaseLockedError,
    CaseOpenError,
    IdentityNotVerifiedError,
    IllegalCaseMoveError,
    InvalidCommandError,
    NotAuthorisedError,
    NothingWaitsError,
    VersionConflictError,
)
from casework.kinds import CaseKind
from casework.ticking import alarm_ms
from casework.verification import Method, code_of
from casework.views import CaseView, Opening
from detector.vocabulary import Action, CardStatus
from tests.casework.examples import AGENT, CODE_KEY, NONCE, NOW_MS, SENIOR, SUPERVISOR, alert
from tests.contracts.conftest import Bench
from tests.contracts.test_desk import bodies, drain

MINUTE_MS, DAY_MS = 60_000, 86_400_000
OTHER_AGENT = Person("agent-2", Role.AGENT)
DISPUTE = Opening(
    CaseKind.DISPUTE,
    Contact.PHONE,
    {"transaction_id": "t-9", "reason": "not_received", "amount_minor": 120_000, "currency": "EUR"},
    "Ordered in March.",
)


class Story:
    """One desk, one case, and a clock that moves a second with every act."""

    def __init__(self, bench: Bench, action: Action = Action.FREEZE, **fields: Any) -> None:
        self.bench = bench
        self.desk: Desk = bench.desk()
        self.now_ms = NOW_MS
        (outcome,) = bench.run(self.desk.respond([alert("a", action, **fields)], NOW_MS))
        self.case_id = outcome.case_id or ""

    def act(self, *commands: Command, by: Person = AGENT, **named: Any) -> CaseView:
        """Do something about the case."""
        self.now_ms += 1_000
        view: CaseView = self.bench.run(
            self.desk.act(self.case_id, commands, by, now_ms=self.now_ms, nonce=f"{NONCE}-{self.now_ms}", **named)
        )
        return view

    def refuse(self, error: type[Exception], *commands: Command, by: Person = AGENT, **named: Any) -> Any:
        """What is refused changes nothing; gives the error."""
        before = self.bench.run(self.desk.case(self.case_id)), len(self.told())
        with pytest.raises(error) as caught:
            self.act(*commands, by=by, **named)
        assert (self.bench.run(self.desk.case(self.case_id)), len(self.told())) == before
        return caught.value

    def wait(self, passing_ms: int) -> CaseView:
        """Let time pass."""
        self.now_ms += passing_ms
        self.bench.run(self.desk.tick(self.now_ms))
        view: CaseView = self.bench.run(self.desk.case(self.case_id))
        return view

    def told(self) -> list[Any]:
        """Everything in the outbox."""
        entries: list[Any] = self.bench.run(drain(self.desk))
        return entries

    def bodies(self, topic: str) -> list[dict[str, Any]]:
        """The records of a topic."""
        return bodies(self.told(), topic)


def test_the_common_case_from_new_to_closed(bench: Bench) -> None:
    """Contact, a code, an unfreeze, a decision, the end: each an event with actor and time, the card pays again."""
    story = Story(bench)
    story.act(do.Take(), do.Move(CaseState.CONTACTING))
    view = story.act(do.VerifyBegin(Method.CODE))
    assert view.case.state is CaseState.VERIFYING
    (notice,) = [n for n in story.bodies("fraud.notifications.v1") if n["template"] == "verification_code"]
    code = code_of(CODE_KEY, notice["parameters"]["code_nonce"])
    assert code not in str(story.told())
    view = story.act(do.VerifyAnswer(code), do.Move(CaseState.RESOLVING), do.Unfreeze("Hers."))
    assert view.card_state is CardStatus.ACTIVE
    view = story.act(do.Decide(Disposition.FALSE_POSITIVE, "Hers."), do.Close("false_positive", "Called; all hers."))
    assert (view.case.state, view.case.outcome, view.case.note) == (
        CaseState.CLOSED, "false_positive", "Called; all hers.",
    )  # fmt: skip
    assert (view.case.owner, view.case.verification.verified_until_ms) == (None, 0)
    assert [label["label"] for label in story.bodies("fraud.labels.v1")] == ["genuine"]
    assert {event.actor for event in view.timeline[2:]} == {AGENT.name}
    assert [event.sequence for event in view.timeline] == list(range(1, view.case.sequence + 1))


@pytest.mark.parametrize(
    ("command", "by"),
    [(do.Unfreeze("Hers."), AGENT), (do.Reissue("Lost."), SENIOR), (do.ChangeLimit(500, "EUR"), SUPERVISOR)],
    ids=["unfreeze", "reissue", "limit"],
)
def test_without_verified_identity_no_unfreeze_reissue_or_limit(bench: Bench, command: Command, by: Person) -> None:
    """Nor with an identity that was verified too long ago."""
    story = Story(bench)
    story.refuse(IdentityNotVerifiedError, command, by=by)
    story.act(do.VerifySeen(Method.DOCUMENT))
    story.wait(30 * MINUTE_MS)
    if bench.run(story.desk.case(story.case_id)).case.tier > by.tier:
        story.act(do.Note("The next tier takes it."), by=by)
        by = SUPERVISOR
    story.refuse(IdentityNotVerifiedError, command, by=by)
    story.act(do.VerifySeen(Method.CALL_BACK), command, by=by)


def test_a_wrong_answer_is_an_event_and_verifies_nothing(bench: Bench) -> None:
    """The attempt is seen, what was said is not kept."""
    story = Story(bench)
    story.act(do.VerifyBegin(Method.CODE))
    view = story.act(do.VerifyAnswer("not the code"))
    assert view.timeline[-1].type is CaseEventType.VERIFICATION_FAILED
    assert "not the code" not in str(story.told())
    story.refuse(IdentityNotVerifiedError, do.Unfreeze("Hers."))


def test_yes_from_the_phone_is_a_weak_label_and_verifies_only_with_a_code(bench: Bench) -> None:
    """The label is the cardholder's; an agent's decision comes after it."""
    story = Story(bench)
    story.act(do.CardholderAnswer("transaction-a", mine=True))
    story.refuse(IdentityNotVerifiedError, do.Unfreeze("Hers."))
    story.act(do.VerifyBegin(Method.CODE))
    nonce = story.bodies("fraud.notifications.v1")[-1]["parameters"]["code_nonce"]
    story.act(do.CardholderAnswer("transaction-a", mine=True, code=code_of(CODE_KEY, nonce)), do.Unfreeze("Hers."))
    assert {(label["label"], label["source"]) for label in story.bodies("fraud.labels.v1")} == {
        ("genuine", "cardholder")
    }
    story.refuse(InvalidCommandError, do.CardholderAnswer("another", mine=True))


def test_reopening_with_another_disposition_corrects_the_labels(bench: Bench) -> None:
    """The later label wins for every reader; the card has one open case at a time."""
    story = Story(bench, Action.REVIEW)
    story.act(do.Decide(Disposition.FALSE_POSITIVE, "Fine."), do.Close("false_positive", "Fine."))
    story.refuse(IllegalCaseMoveError, do.Note("Late."))
    view = story.act(do.Reopen("She called again."))
    assert (view.case.state, view.case.owner, view.case.reopened_count) == (CaseState.REOPENED, AGENT.name, 1)
    story.act(do.Decide(Disposition.CONFIRMED_FRAUD, "Not hers."), do.Close("confirmed_fraud", "Not hers."))
    labels = story.bodies("fraud.labels.v1")
    assert [label["label"] for label in labels] == ["genuine", "fraud"]
    assert labels[0]["label_time_ms"] < labels[1]["label_time_ms"]
    bench.run(story.desk.respond([alert("b", decided_ms=story.now_ms + 1)], story.now_ms + 1))
    story.refuse(CaseOpenError, do.Reopen("Again."))


def test_labels_for_the_transactions_named(bench: Bench) -> None:
    """One payment of a case may be fraud and another not."""
    story = Story(bench, Action.REVIEW)
    bench.run(story.desk.respond([alert("b", Action.REVIEW)], NOW_MS + 1))
    story.act(
        do.Decide(Disposition.FALSE_POSITIVE, "Hers.", ("transaction-a",)),
        do.Decide(Disposition.CONFIRMED_FRAUD, "Not hers.", ("transaction-b",)),
        do.Close("confirmed_fraud", "One of two."),
    )
    labels = {label["transaction_id"]: label["label"] for label in story.bodies("fraud.labels.v1")}
    assert labels == {"transaction-a": "genuine", "transaction-b": "fraud"}


def test_nothing_is_closed_without_outcome_decision_and_note(bench: Bench) -> None:
    """An outcome of the kind, and for a fraud alert what it was."""
    story = Story(bench)
    story.refuse(InvalidCommandError, do.Close("confirmed_fraud", "Undecided."))
    story.refuse(InvalidCommandError, do.Close("replaced", "Not of this kind."))


def test_a_lock_keeps_others_out_and_expires(bench: Bench) -> None:
    """Notes and freezing are possible all the same; a supervisor may give the case to somebody else."""
    story = Story(bench)
    story.act(do.Take())
    error = story.refuse(CaseLockedError, do.Move(CaseState.CONTACTING), by=OTHER_AGENT)
    assert error.owner == AGENT.name
    story.act(do.Note("He is on the line with me."), by=OTHER_AGENT)
    story.refuse(NotAuthorisedError, do.Assign(OTHER_AGENT.name), by=OTHER_AGENT)
    story.act(do.Assign(OTHER_AGENT.name), by=SUPERVISOR)
    story.refuse(CaseLockedError, do.Move(CaseState.CONTACTING))
    story.now_ms += 10 * MINUTE_MS
    story.act(do.Move(CaseState.CONTACTING))


def test_get_next_hands_out_different_cases_by_urgency(bench: Bench) -> None:
    """Two who ask get two; what somebody holds, waits or is for a higher tier is not handed out."""
    desk = bench.desk()
    alerts = [
        alert("mild", Action.REVIEW, card_token="card-mild"),
        alert("dear", card_token="card-dear", expected_loss_minor=900_000),
        alert("cheap", card_token="card-cheap", expected_loss_minor=9),
        alert("waiting", card_token="card-waiting"),
        alert("hard", card_token="card-hard"),
    ]
    ids = {each.card_token: outcome.case_id or "" for each, outcome in
           zip(alerts, bench.run(desk.respond(alerts, NOW_MS)), strict=True)}  # fmt: skip
    later = NOW_MS + 1
    snooze, escalate = do.Snooze(NOW_MS + DAY_MS, "Call back."), do.Escalate("Too hard.")
    bench.run(desk.act(ids["card-waiting"], (snooze,), AGENT, now_ms=later, nonce=NONCE))
    bench.run(desk.act(ids["card-hard"], (escalate,), AGENT, now_ms=later, nonce=NONCE))
    waits = do.Customer(waiting=True, vulnerable=True)
    bench.run(desk.act(ids["card-cheap"], (waits,), AGENT, now_ms=later, nonce=NONCE))
    taken = []
    for place in range(4):
        view = bench.run(desk.next_case(Person(f"agent-{place}", Role.AGENT), now_ms=NOW_MS + 10))
        taken.append(None if view is None else view.case.card_token)
    assert taken == ["card-cheap", "card-dear", "card-mild", None]
    hard = bench.run(desk.next_case(SENIOR, now_ms=NOW_MS + 11))
    assert hard is not None
    assert hard.case.card_token == "card-hard"


def test_the_random_sample_is_reviewed_in_the_same_queue(bench: Bench) -> None:
    """Behind everything that spoke for itself, and in the end as well."""
    desk = bench.desk()
    sample = alert("sample", Action.REVIEW, card_token="card-1", flags=("random_review",), reasons=(),
                   expected_loss_minor=0)  # fmt: skip
    bench.run(desk.respond([sample, alert("suspect", Action.REVIEW, card_token="card-2")], NOW_MS))
    taken = [bench.run(desk.next_case(by, now_ms=NOW_MS + 1)) for by in (AGENT, OTHER_AGENT)]
    assert [view and (view.case.card_token, view.case.severity) for view in taken] == [
        ("card-2", Severity.NORMAL),
        ("card-1", Severity.LOW),
    ]


def test_if_match_on_acts_tells_what_changed(bench: Bench) -> None:
    """Two agents collide; the second sees what the first did."""
    story = Story(bench)
    story.act(do.Note("First."), if_match=2)
    error = story.refuse(VersionConflictError, do.Note("Second."), if_match=2)
    assert [event.type for event in error.changes] == [CaseEventType.NOTED]


def test_snooze_stops_the_clock_and_the_case_comes_back_by_itself(bench: Bench) -> None:
    """What was left of the target before is left of it afterwards."""
    story = Story(bench)
    story.act(do.Move(CaseState.CONTACTING))
    before = bench.run(story.desk.case(story.case_id)).case
    view = story.act(do.Snooze(story.now_ms + DAY_MS, "Asked for a call tomorrow."))
    assert (view.case.state, view.case.clock and view.case.clock.due_ms) == (CaseState.WAITING, None)
    assert story.wait(DAY_MS - 2_000).case.state is CaseState.WAITING
    back = story.wait(2_000).case
    assert back.state is CaseState.CONTACTING
    assert before.clock is not None
    assert back.clock is not None
    assert (before.clock.due_ms or 0) - story.now_ms + DAY_MS < (back.clock.due_ms or 0) - story.now_ms + DAY_MS
    assert back.clock.used_ms == 2_000
    story.refuse(InvalidCommandError, do.Snooze(story.now_ms, "Past."))
    story.refuse(InvalidCommandError, do.Snooze(story.now_ms + 100 * DAY_MS, "Far."))


def test_a_target_warns_and_when_missed_escalates_by_itself(bench: Bench) -> None:
    """Severity rises, the tier rises, nobody holds it; a tier-1 agent may not go on, and only a person lowers it."""
    story = Story(bench)
    story.act(do.Take())
    assert story.wait(11 * MINUTE_MS).timeline[-1].type is CaseEventType.TAKEN
    warned = story.wait(MINUTE_MS)
    assert warned.timeline[-1].type is CaseEventType.TARGET_NEAR
    missed = story.wait(3 * MINUTE_MS)
    assert missed.timeline[-1].type is CaseEventType.TARGET_MISSED
    assert (missed.case.state, missed.case.tier, missed.case.owner) == (CaseState.ESCALATED, 2, None)
    assert alarm_ms(missed.case) is None
    assert story.refuse(NotAuthorisedError, do.Move(CaseState.RESOLVING)).why == "tier"
    story.act(do.Move(CaseState.RESOLVING), by=SENIOR)
    story.act(do.SetSeverity(Severity.LOW, "Nothing in it."), by=SENIOR)
    assert bench.run(story.desk.case(story.case_id)).case.severity is Severity.LOW


def test_a_second_person_agrees_or_does_not(bench: Bench) -> None:
    """What was asked for is done in the asker's name, once, by nobody alone."""
    story = Story(bench)
    story.act(do.VerifySeen(Method.CALL_BACK))
    view = story.act(do.ChangeLimit(900_000, "EUR"), by=SENIOR)
    assert view.case.approval is not None
    assert story.bodies("cards.orders.v1") == []
    assert story.refuse(NotAuthorisedError, do.Approve(), by=SENIOR).why == "same_person"
    story.refuse(NotAuthorisedError, do.Approve(), by=AGENT)
    story.act(do.Refuse("Too much."), by=SUPERVISOR)
    story.refuse(NothingWaitsError, do.Approve(), by=SUPERVISOR)
    story.act(do.ChangeLimit(500_000, "EUR"), by=SENIOR)
    view = story.act(do.Approve(), by=SUPERVISOR)
    (order,) = story.bodies("cards.orders.v1")
    assert (order["type"], order["limit_minor"], order["actor"]) == ("limit_change", 500_000, SENIOR.name)
    assert [event.actor for event in view.timeline[-2:]] == [SUPERVISOR.name, SENIOR.name]
    assert view.case.approval is None


def test_a_macro_follows_after_ten_seconds_unless_it_is_undone(bench: Bench) -> None:
    """One decision, many effects; what cannot be done is refused at once; the preview says what will happen."""
    story = Story(bench)
    macro = do.Macro("it_was_them", "All hers.")
    story.refuse(IdentityNotVerifiedError, macro)
    story.act(do.VerifySeen(Method.CALL_BACK))
    preview = bench.run(story.desk.preview(story.case_id, (macro,), AGENT, now_ms=story.now_ms + 1, nonce=NONCE))
    assert (preview.case.state, preview.card_state) == (CaseState.CLOSED, CardStatus.ACTIVE)
    assert "fraud.labels.v1" in {told.topic for told in preview.told}
    assert story.bodies("fraud.labels.v1") == []
    story.act(macro)
    story.refuse(InvalidCommandError, macro)
    assert story.wait(8_000).case.is_open
    story.act(do.Undo())
    assert story.wait(20_000).case.is_open
    story.refuse(NothingWaitsError, do.Undo())
    story.act(macro)
    done = story.wait(10_000)
    assert (done.case.state, done.card_state) == (CaseState.CLOSED, CardStatus.ACTIVE)
    assert done.case.closed_by == AGENT.name


def test_a_macro_that_cannot_follow_any_more_says_so(bench: Bench) -> None:
    """Nothing of it is done."""
    story = Story(bench)
    story.act(do.VerifySeen(Method.CALL_BACK), by=SENIOR)
    story.act(do.Macro("it_was_them", "All hers."), by=SENIOR)
    bench.run(story.desk.set_card_state("card-1", CardStatus.BLOCKED, "Stolen", SENIOR, now_ms=story.now_ms + 5))
    after = story.wait(11_000)
    assert after.timeline[-1].type is CaseEventType.MACRO_FAILED
    assert (after.case.is_open, after.case.disposition, after.card_state) == (True, None, CardStatus.BLOCKED)


def test_what_a_person_opens(bench: Bench) -> None:
    """Kinds have their fields; one case a card; a lost card is frozen at once; alerts join and make it urgent."""
    desk = bench.desk()
    opened = bench.run(desk.open_case("card-7", DISPUTE, AGENT, now_ms=NOW_MS, idempotency_key="k"))
    assert (opened.case.kind, opened.case.details["amount_minor"], opened.case.action) == (
        CaseKind.DISPUTE, 120_000, Action.ALLOW,
    )  # fmt: skip
    assert bench.run(desk.open_case("card-7", DISPUTE, AGENT, now_ms=NOW_MS + 9, idempotency_key="k")) == opened
    with pytest.raises(CaseOpenError) as open_already:
        bench.run(desk.open_case("card-7", DISPUTE, AGENT, now_ms=NOW_MS + 1))
    assert open_already.value.case_id == opened.case.case_id
    for details in ({}, {**DISPUTE.details, "amount_minor": -1}, {**DISPUTE.details, "colour": "blue"}):
        wrong = Opening(CaseKind.DISPUTE, Contact.PHONE, details, "x")
        with pytest.raises(InvalidCommandError, match="details"):
            bench.run(desk.open_case("card-8", wrong, AGENT, now_ms=NOW_MS))
    lost = Opening(CaseKind.LOST_OR_STOLEN, Contact.SELF_SERVICE, {"circumstance": "lost"}, "One tap.")
    view = bench.run(desk.open_case("card-9", lost, AGENT, now_ms=NOW_MS))
    assert (view.card_state, view.case.severity) == (CardStatus.FROZEN, Severity.URGENT)
    before = opened.case.clock and opened.case.clock.due_ms
    bench.run(desk.respond([alert("f", card_token="card-7", event_time_ms=NOW_MS + 1)], NOW_MS + 2))
    joined = bench.run(desk.case(opened.case.case_id)).case
    assert (joined.severity, joined.action) == (Severity.URGENT, Action.FREEZE)
    assert ((joined.clock and joined.clock.due_ms) or 0) < (before or 0)


def test_a_dear_dispute_takes_two_and_credits_once(bench: Bench) -> None:
    """The provisional credit is an order with the disputed amount."""
    desk = bench.desk()
    opened = bench.run(desk.open_case("card-7", DISPUTE, AGENT, now_ms=NOW_MS))
    accept = (do.AcceptDispute("Merchant is bankrupt."),)

    def act(commands: tuple[Command, ...], by: Person, now_ms: int) -> CaseView:
        view: CaseView = bench.run(desk.act(opened.case.case_id, commands, by, now_ms=now_ms, nonce=NONCE))
        return view

    with pytest.raises(NotAuthorisedError):
        act(accept, AGENT, NOW_MS + 1)
    act(accept, SENIOR, NOW_MS + 2)
    act((do.Approve(),), SUPERVISOR, NOW_MS + 3)
    view = act((do.Close("accepted", "Credited."),), SENIOR, NOW_MS + 4)
    (order,) = bodies(bench.run(drain(desk)), "cards.orders.v1")
    assert (order["type"], order["amount_minor"], order["transaction_id"]) == ("provisional_credit", 120_000, "t-9")
    assert view.case.outcome == "accepted"


def test_a_reissued_card_hands_its_history_on(bench: Bench) -> None:
    """The old card never pays again; order and directive name the new one; the cardholder's identity was verified."""
    story = Story(bench)
    view = story.act(do.VerifySeen(Method.DOCUMENT), do.Reissue("Cloned.", "card-new"), by=SENIOR)
    assert view.card_state is CardStatus.REISSUED
    (order,) = story.bodies("cards.orders.v1")
    assert (order["type"], order["new_card_token"]) == ("reissue", "card-new")
    assert {"kind": "inherit", "card_token": "card-1", "new_card_token": "card-new"} in story.bodies(
        "cardwatch.control.v1"
    )
    assert story.bodies("cards.state.v1")[-1]["state"] == "reissued"


def test_what_the_scorer_is_told(bench: Bench) -> None:
    """Watch, allowed merchants and travel are directives, each under a key of its own; far ends are refused."""
    story = Story(bench)
    story.act(
        do.Watch(7), do.AllowMerchant("m-1", NOW_MS + DAY_MS), do.AllowMerchant("m-2", NOW_MS + DAY_MS),
        do.Travel(("JP", "SG"), NOW_MS + DAY_MS),
    )  # fmt: skip
    keys = {entry.key for entry in story.told() if entry.topic == "cardwatch.control.v1"}
    assert keys == {"watch:card-1", "allow_merchant:card-1:m-1", "allow_merchant:card-1:m-2", "travel:card-1"}
    assert [body["kind"] for body in story.bodies("cardwatch.control.v1")] == [
        "watch", "allow_merchant", "allow_merchant", "travel",
    ]  # fmt: skip
    story.refuse(InvalidCommandError, do.Travel(("JP",), NOW_MS + 500 * DAY_MS))


def test_all_or_nothing(bench: Bench) -> None:
    """One refused command of ten, and none is done."""
    story = Story(bench)
    story.refuse(NotAuthorisedError, do.Note("Fine."), do.Move(CaseState.CONTACTING), do.Block("Not mine to do."))
    story.refuse(IllegalCaseMoveError, do.Note("Fine."), do.Move(CaseState.FOLLOWING_UP))
    story.refuse(InvalidCommandError, do.Note("Fine."), do.Undo())


def test_a_call_is_due_once_and_until_the_cardholder_is_heard(bench: Bench) -> None:
    """An event of the case; who was heard since need not be called, and nobody is called about a closed case."""
    story = Story(bench)

    def call(name: str, since_ms: int) -> bool:
        story.now_ms += MINUTE_MS
        asked = story.desk.call_due(story.case_id, name, "card_frozen", since_ms=since_ms, now_ms=story.now_ms)
        return bool(story.bench.run(asked))

    assert call("n-1", NOW_MS)
    assert not call("n-1", NOW_MS)
    case = story.bench.run(story.desk.case(story.case_id)).case
    assert (case.call_due, case.severity) == (True, Severity.URGENT)
    assert not story.act(do.VerifySeen(Method.CALL_BACK)).case.call_due
    assert not call("n-2", NOW_MS)
    assert call("n-3", story.now_ms)
    decided = do.Decide(Disposition.CONFIRMED_FRAUD, "Not theirs.")
    assert not story.act(decided, do.Close("confirmed_fraud", "Done.")).case.call_due
    assert not call("n-4", story.now_ms)
