"""Verified identity: codes and questions that nobody can guess or look up, few attempts, and nothing secret kept."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casework.alerts import Payment
from casework.errors import InvalidCommandError, VerificationError
from casework.verification import (
    Method,
    Verification,
    answer_challenge,
    begin_code,
    begin_knowledge,
    code_of,
    forgotten,
    record_seen,
    without_payments,
)
from tests.casework.examples import CODE_KEY, NONCE, NOW_MS, playbook

RULES = playbook().verification
MINUTE_MS = 60_000
PAYMENTS: list[Payment] = [
    {"event_time_ms": NOW_MS - place * 40_000_000, "amount_minor": 1_290 + 731 * place, "currency": "EUR"}
    for place in range(1, 9)
]


def asked() -> Verification:
    return begin_code(Verification(), RULES, CODE_KEY, NONCE, NOW_MS)


def answer(verification: Verification, text: str, now_ms: int = NOW_MS) -> Verification:
    return answer_challenge(verification, RULES, CODE_KEY, text, "ann", now_ms)


def wrong_code() -> str:
    return f"{(int(code_of(CODE_KEY, NONCE)) + 1) % 10**6:06d}"


def test_the_right_code_verifies_for_a_while() -> None:
    """Who, how and until when are kept; the challenge is gone, so a code works once."""
    verified = answer(asked(), f" {code_of(CODE_KEY, NONCE)} ", NOW_MS + 5)
    assert (verified.method, verified.by, verified.challenge) == (Method.CODE, "ann", None)
    assert verified.holds(NOW_MS + 5)
    assert verified.holds(NOW_MS + 5 + RULES.holds_ms - 1)
    assert not verified.holds(NOW_MS + 5 + RULES.holds_ms)
    with pytest.raises(VerificationError, match="nothing_asked"):
        answer(verified, code_of(CODE_KEY, NONCE))


def test_codes_follow_from_nonce_and_key_and_are_spread() -> None:
    """Six digits; another nonce or key has another code, and no digit is favoured."""
    codes = [code_of(CODE_KEY, f"nonce-{number:016d}") for number in range(5_000)]
    assert all(len(code) == 6 and code.isdecimal() for code in codes)
    assert len(set(codes)) > 4_900
    assert code_of(b"x" * 32, NONCE) != code_of(CODE_KEY, NONCE)
    counts = [sum(code[place] == str(digit) for code in codes) for place in range(6) for digit in range(10)]
    assert all(380 < count < 620 for count in counts)


def test_attempts_are_limited() -> None:
    """After the last one the challenge is gone; a new one must be asked for."""
    verification = asked()
    for left in range(RULES.terms[Method.CODE].attempts - 1, 0, -1):
        verification = answer(verification, wrong_code())
        assert verification.challenge is not None
        assert verification.challenge.attempts_left == left
    verification = answer(verification, wrong_code())
    assert (verification.challenge, verification.holds(NOW_MS)) == (None, False)
    with pytest.raises(VerificationError, match="nothing_asked"):
        answer(verification, code_of(CODE_KEY, NONCE))


def test_too_many_failures_lock_every_method_for_a_while() -> None:
    """Over all challenges together; afterwards it may be tried anew."""
    verification = Verification()
    failures = 0
    while not verification.locked_until_ms:
        if verification.challenge is None:
            verification = begin_code(verification, RULES, CODE_KEY, NONCE, NOW_MS)
        verification = answer(verification, wrong_code())
        failures += 1
    assert failures == RULES.maximum_failures
    unlocked_ms = NOW_MS + RULES.lock_ms
    acts: list[Callable[[int], Verification]] = [
        lambda ms: begin_code(verification, RULES, CODE_KEY, NONCE, ms),
        lambda ms: begin_knowledge(verification, RULES, CODE_KEY, NONCE, PAYMENTS, ms),
        lambda ms: record_seen(verification, RULES, Method.CALL_BACK, "ann", ms),
    ]
    for act in acts:
        with pytest.raises(VerificationError, match="locked"):
            act(unlocked_ms - 1)
        act(unlocked_ms)
    assert forgotten(verification).locked_until_ms == verification.locked_until_ms


def test_a_challenge_ends() -> None:
    """The right answer comes too late."""
    ends_ms = NOW_MS + RULES.terms[Method.CODE].answer_within_ms
    assert answer(asked(), code_of(CODE_KEY, NONCE), ends_ms - 1).holds(ends_ms)
    with pytest.raises(VerificationError, match="expired"):
        answer(asked(), code_of(CODE_KEY, NONCE), ends_ms)


def test_nothing_secret_is_kept() -> None:
    """Neither the code nor which payments are real can be read off what is stored."""
    assert code_of(CODE_KEY, NONCE) not in msgspec.json.encode(asked()).decode()
    challenge = begin_knowledge(Verification(), RULES, CODE_KEY, NONCE, PAYMENTS, NOW_MS).challenge
    assert challenge is not None
    assert set(msgspec.structs.asdict(challenge)) == {
        "method", "nonce", "answer_hash", "expires_ms", "attempts_left", "options",
    }  # fmt: skip
    assert CODE_KEY.hex() not in msgspec.json.encode(challenge).decode()


@given(nonce=st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=16, max_size=64))
def test_exactly_the_cardholders_own_payments_are_right(nonce: str) -> None:
    """Of all choices of so many options only the one of the own payments verifies, in whatever order it is given."""
    verification = begin_knowledge(Verification(), RULES, CODE_KEY, nonce, PAYMENTS, NOW_MS)
    challenge = verification.challenge
    assert challenge is not None
    own = {(payment["event_time_ms"], payment["amount_minor"]) for payment in PAYMENTS}
    right = [place for place, option in enumerate(challenge.options) if (option.time_ms, option.amount_minor) in own]
    assert (len(challenge.options), len(right)) == (RULES.options, RULES.own_options)
    verifying = [
        choice
        for choice in combinations(range(RULES.options), RULES.own_options)
        if answer(verification, ",".join(str(place) for place in reversed(choice))).holds(NOW_MS)
    ]
    assert verifying == [tuple(right)]
    for nonsense in ("", "a", "1,,2", "999", "-1", ",".join(str(place) for place in range(RULES.options))):
        assert not answer(verification, nonsense).holds(NOW_MS)


def test_payments_in_question_are_not_asked_for() -> None:
    """What may be the thief's proves nothing; too few others, and another method is needed."""
    alerted = without_payments(
        [*PAYMENTS, {"transaction_id": "t", "event_time_ms": 1, "amount_minor": 5}],
        ["t"],
        [int(str(PAYMENTS[0]["event_time_ms"]))],
    )
    assert alerted == PAYMENTS[1:]
    too_few: list[list[Payment]] = [PAYMENTS[: RULES.own_options - 1], [], [{"amount_minor": 5}], PAYMENTS[:1] * 9]
    for payments in too_few:
        with pytest.raises(VerificationError, match="too_few_payments"):
            begin_knowledge(Verification(), RULES, CODE_KEY, NONCE, payments, NOW_MS)


def test_what_is_seen_needs_no_question_and_what_is_asked_cannot_be_seen() -> None:
    """A call back or a document is recorded; a code is not."""
    assert record_seen(Verification(), RULES, Method.DOCUMENT, "ann", NOW_MS).method is Method.DOCUMENT
    for method in (Method.CODE, Method.KNOWLEDGE):
        with pytest.raises(InvalidCommandError):
            record_seen(Verification(), RULES, method, "ann", NOW_MS)
    with pytest.raises(InvalidCommandError, match="nonce"):
        begin_code(Verification(), RULES, CODE_KEY, "short", NOW_MS)
