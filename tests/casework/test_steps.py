"""What is left of a case follows from its events, by its kind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from casework import commands as do
from casework.adapters.memory_store import MemoryStore
from casework.cases import Contact, Disposition
from casework.commands import Command
from casework.desk import Desk
from casework.kinds import KINDS, CaseKind
from casework.steps import STEPS, StepName, steps_of
from casework.verification import Method
from casework.views import Opening
from tests.casework.examples import NONCE, NOW_MS, SENIOR, alert, desk_on


class Bench:
    """A desk with one case."""

    def __init__(self, desk: Desk, case_id: str) -> None:
        self.desk = desk
        self.case_id = case_id

    def act(self, *commands: Command) -> None:
        asyncio.run(self.desk.act(self.case_id, commands, SENIOR, now_ms=NOW_MS, nonce=NONCE))

    def left(self, now_ms: int = NOW_MS) -> list[StepName]:
        """The steps that are left; of an open case the first of them is the next one."""
        view = asyncio.run(self.desk.case(self.case_id))
        steps = steps_of(view, now_ms)
        undone = [step.name for step in steps if not step.is_done]
        assert [step.name for step in steps if step.is_next] == (undone[:1] if view.case.is_open else [])
        return undone


def bench(kind: CaseKind = CaseKind.FRAUD_ALERT, **details: Any) -> Bench:
    """A new case of a kind."""
    desk = desk_on(MemoryStore(shards=2, outbox_limit=1_000))
    if kind is CaseKind.FRAUD_ALERT:
        (outcome,) = asyncio.run(desk.respond([alert("1")], NOW_MS))
        return Bench(desk, str(outcome.case_id))
    opening = Opening(kind, Contact.PHONE, details, "They called.")
    view = asyncio.run(desk.open_case("card-1", opening, SENIOR, now_ms=NOW_MS))
    return Bench(desk, view.case.case_id)


def test_a_fraud_alert_is_worked_through() -> None:
    """Each act takes its step off the list, whatever the order, and the first that is left comes next."""
    made = bench()
    assert made.left() == list(STEPS[CaseKind.FRAUD_ALERT])
    made.act(do.Take())
    made.act(do.VerifySeen(Method.CALL_BACK))
    assert made.left() == [StepName.DECIDE, StepName.CARD, StepName.CLOSE]
    made.act(do.Unfreeze("Theirs."))
    assert made.left() == [StepName.DECIDE, StepName.CLOSE]
    made.act(do.Decide(Disposition.FALSE_POSITIVE, "Theirs."))
    made.act(do.Close("false_positive", "Theirs."))
    assert made.left() == []


def test_a_verified_identity_does_not_hold_for_ever() -> None:
    """When it ends, verifying is left again."""
    made = bench()
    made.act(do.Take(), do.VerifySeen(Method.CALL_BACK))
    assert StepName.VERIFY not in made.left()
    assert StepName.VERIFY in made.left(NOW_MS + 3_600_000)


def test_a_lost_card_is_settled_when_it_cannot_pay() -> None:
    """The other way round than a frozen one, and all that is asked for is filled in."""
    made = bench(CaseKind.LOST_OR_STOLEN, circumstance="lost")
    made.act(do.Take())
    assert made.left()[:2] == [StepName.DESCRIBE, StepName.VERIFY]
    made.act(do.Describe({"missed_since_ms": NOW_MS, "place": "A train", "police_report": "none"}))
    assert StepName.DESCRIBE not in made.left()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_steps(kind: CaseKind) -> None:
    """Taken first and closed last."""
    assert (STEPS[kind][0], STEPS[kind][-1]) == (StepName.TAKE, StepName.CLOSE)
