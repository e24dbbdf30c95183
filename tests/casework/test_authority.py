"""The matrix of roles and acts, cell by cell, and its bounds."""

from __future__ import annotations

from typing import Any

import pytest

from casework.authority import Act, Authority, Circumstances, Person, Role
from casework.errors import ConfigurationError, NotAuthorisedError
from tests.casework.examples import authority, shipped

AGENT, SENIOR, SUPERVISOR = Role.AGENT, Role.SENIOR_AGENT, Role.SUPERVISOR
PEOPLE = {AGENT, SENIOR, SUPERVISOR}
TIER_2 = {SENIOR, SUPERVISOR}
# The matrix once more, in the words of those who may: a change of configs/roles.toml must be meant.
MAY: dict[Act, set[Role]] = {
    Act.CONSOLE: PEOPLE,
    Act.METRICS_READ: {Role.SRE},
    Act.CARD_READ: PEOPLE | {Role.PAYMENT_SYSTEM},
    Act.CARD_FREEZE: PEOPLE | {Role.PAYMENT_SYSTEM, Role.CARDHOLDER},
    Act.CARD_UNFREEZE: PEOPLE | {Role.CARDHOLDER},
    Act.CARD_BLOCK: TIER_2 | {Role.CARDHOLDER},
    Act.CARD_REISSUE: TIER_2,
    Act.LIMIT_LOWER: PEOPLE,
    Act.LIMIT_CHANGE: TIER_2,
    Act.CARD_WATCH: PEOPLE,
    Act.MERCHANT_ALLOW: PEOPLE,
    Act.TRAVEL_NOTE: PEOPLE,
    Act.CASE_READ: PEOPLE,
    Act.CASE_OPEN: PEOPLE | {Role.CARDHOLDER},
    Act.CASE_TAKE: PEOPLE,
    Act.CASE_WORK: PEOPLE | {Role.CARDHOLDER},
    Act.CASE_SNOOZE: PEOPLE,
    Act.CASE_ESCALATE: PEOPLE,
    Act.CASE_VERIFY: PEOPLE | {Role.CARDHOLDER},
    Act.CASE_OVERRIDE: PEOPLE,
    Act.CASE_REOPEN: PEOPLE,
    Act.CASE_REASSIGN: {SUPERVISOR},
    Act.SEVERITY_LOWER: TIER_2,
    Act.DISPUTE_ACCEPT: TIER_2,
    Act.APPROVE: TIER_2,
    Act.BREAKER_READ: TIER_2 | {Role.SRE},
    Act.BREAKER_RELEASE: TIER_2 | {Role.SRE},
    Act.PAYMENT_DECIDE: {Role.PAYMENT_SYSTEM},
    Act.LISTS_READ: PEOPLE,
    Act.LISTS_EDIT: {SUPERVISOR},
    Act.CONTACT_EDIT: PEOPLE,
    Act.WEBHOOK_READ: {SUPERVISOR, Role.SRE},
    Act.WEBHOOK_OPERATE: {SUPERVISOR, Role.SRE},
}
ALWAYS_FOUR_EYES = {(SENIOR, Act.LIMIT_CHANGE)}
NOTHING = Circumstances()


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("act", Act)
def test_each_cell(role: Role, act: Act) -> None:
    """Whether it is allowed at all, and whether it always takes a second person."""
    matrix = authority()
    assert matrix.permits(role, act) == (role in MAY[act])
    if role in MAY[act]:
        matrix.require(Person("p", role), act)
        assert matrix.needs_second(Person("p", role), act, NOTHING) == ((role, act) in ALWAYS_FOUR_EYES)
    else:
        for ask in (
            lambda: matrix.require(Person("p", role), act),
            lambda: matrix.needs_second(Person("p", role), act, NOTHING),
        ):
            with pytest.raises(NotAuthorisedError) as refused:
                ask()
            assert (refused.value.act, refused.value.why) == (act, "role")


@pytest.mark.parametrize(
    ("role", "amount_minor", "currency", "score", "allowed"),
    [
        (AGENT, 250_000, "EUR", 0.99, True),
        (AGENT, 250_001, "EUR", 0.5, False),
        (AGENT, 1, "EUR", 0.991, False),
        (AGENT, 1, "CHF", 0.5, False),
        (AGENT, 1, None, 0.5, False),
        (AGENT, None, None, 0.5, True),
        (SENIOR, 10**12, None, 1.0, True),
    ],
)
def test_tier_1_unfreezes_within_bounds(
    role: Role, amount_minor: int | None, currency: str | None, score: float, *, allowed: bool
) -> None:
    """Up to an amount and a risk; a currency that nothing is said of is beyond; tier 2 unfreezes anything."""
    circumstances = Circumstances(amount_minor, currency, score)
    if allowed:
        assert not authority().needs_second(Person("p", role), Act.CARD_UNFREEZE, circumstances)
    else:
        with pytest.raises(NotAuthorisedError) as refused:
            authority().needs_second(Person("p", role), Act.CARD_UNFREEZE, circumstances)
        assert refused.value.why == "bounds"


def test_four_eyes_beyond_a_bound() -> None:
    """A dispute that costs more takes a second person, unless a supervisor accepts it."""
    dear = Circumstances(100_001, "EUR")
    assert authority().needs_second(Person("p", SENIOR), Act.DISPUTE_ACCEPT, dear)
    assert not authority().needs_second(Person("p", SENIOR), Act.DISPUTE_ACCEPT, Circumstances(100_000, "EUR"))
    assert not authority().needs_second(Person("p", SUPERVISOR), Act.DISPUTE_ACCEPT, dear)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"may": {"king": []}}, "king"),
        ({"may": {"agent": ["fly"]}}, "fly"),
        ({"bounds": {"card_block": {"agent": {}}}}, "bounds.card_block.agent"),
        ({"bounds": {"card_unfreeze": {"agent": {"four_eyes": True, "up_to_score": 0.5}}}}, "four_eyes"),
        ({"bounds": {"card_unfreeze": {"agent": {"up_to_score": 2}}}}, "up_to_score"),
        ({"colour": "blue"}, "colour"),
        ({"version": ""}, "version"),
    ],
)
def test_a_wrong_matrix_is_named(change: dict[str, Any], named: str) -> None:
    """Before anything starts."""
    with pytest.raises(ConfigurationError, match=named):
        Authority.from_mapping(shipped("roles.toml") | change)
