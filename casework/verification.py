"""Whether the person on the other side is the cardholder: challenges, attempts, and what is kept of them.

Nothing secret is kept. A one-time code follows from a nonce and the installation's key (as HOTP makes codes, RFC 4226),
so the notice to the cardholder carries the nonce and its sender works the code out; a case keeps a keyed hash of the
right answer. Randomness is an argument. Attempts are limited, challenges end, and too many failures lock the case's
verification for a while, whatever the method.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import msgspec

from casework.alerts import Payment
from casework.errors import ConfigurationError, InvalidCommandError, VerificationError

MINIMUM_KEY_BYTES = 32
MINIMUM_NONCE = 16
_CODE_DIGITS = 6
_MINUTE_MS = 60_000
_DAY_MS = 86_400_000
_TRIES = 200


class Method(StrEnum):
    """How identity is verified.

    code: a one-time code sent to the cardholder. knowledge: telling own payments from made-up ones. call_back: the
    agent called the number on record. document: the agent saw an identity document.
    """

    CODE = "code"
    KNOWLEDGE = "knowledge"
    CALL_BACK = "call_back"
    DOCUMENT = "document"


class Obstacle(StrEnum):
    """Why identity cannot be verified in a way now."""

    LOCKED = "locked"
    NOTHING_ASKED = "nothing_asked"
    EXPIRED = "expired"
    TOO_FEW_PAYMENTS = "too_few_payments"


ASKED = frozenset({Method.CODE, Method.KNOWLEDGE})


class Option(msgspec.Struct, frozen=True):
    """A payment that may be the cardholder's or made up."""

    time_ms: int
    amount_minor: int
    currency: str


class Challenge(msgspec.Struct, frozen=True, omit_defaults=True):
    """A question that waits for its answer.

    Attributes:
        nonce: what the code follows from.
        answer_hash: keyed hash of the right answer.
        options: the payments to choose from, for KNOWLEDGE.
    """

    method: Method
    nonce: str
    answer_hash: str
    expires_ms: int
    attempts_left: int
    options: tuple[Option, ...] = ()


class Verification(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a case knows of the cardholder's identity.

    Attributes:
        challenge: the open one.
        failures: wrong answers since the last success or lock.
        locked_until_ms: before that no challenge is begun or answered.
        verified_ms, verified_until_ms, method, by: of the last success.
    """

    challenge: Challenge | None = None
    failures: int = 0
    locked_until_ms: int = 0
    verified_ms: int = 0
    verified_until_ms: int = 0
    method: Method | None = None
    by: str | None = None

    def holds(self, now_ms: int) -> bool:
        """Whether identity is verified at this time."""
        return now_ms < self.verified_until_ms


@dataclass(frozen=True, slots=True)
class Terms:
    """How a method is used."""

    attempts: int
    answer_within_ms: int


@dataclass(frozen=True, slots=True)
class VerificationRules:
    """The playbook's `[verification]`.

    Attributes:
        terms: for the methods that ask.
        holds_ms: how long a success lasts.
        maximum_failures, lock_ms: so many wrong answers on a case lock its verification for so long.
        options, own_options: payments shown for KNOWLEDGE, and how many of them are the cardholder's.
    """

    terms: Mapping[Method, Terms]
    holds_ms: int
    maximum_failures: int
    lock_ms: int
    options: int
    own_options: int


class _Terms(msgspec.Struct, forbid_unknown_fields=True):
    attempts: Annotated[int, msgspec.Meta(ge=1, le=10)]
    answer_within_minutes: Annotated[int, msgspec.Meta(ge=1, le=60)]


class VerificationSettings(msgspec.Struct, forbid_unknown_fields=True):
    """The structure of `[verification]`."""

    holds_minutes: Annotated[int, msgspec.Meta(ge=1, le=24 * 60)]
    maximum_failures: Annotated[int, msgspec.Meta(ge=1, le=20)]
    lock_minutes: Annotated[int, msgspec.Meta(ge=1, le=7 * 24 * 60)]
    options: Annotated[int, msgspec.Meta(ge=4, le=12)]
    own_options: Annotated[int, msgspec.Meta(ge=1, le=6)]
    code: _Terms
    knowledge: _Terms

    def rules(self) -> VerificationRules:
        """What it means.

        Raises:
            ConfigurationError: most of the options would be the cardholder's own.
        """
        if 2 * self.own_options > self.options:
            message = "playbook: verification.own_options must be at most half of verification.options"
            raise ConfigurationError(message)
        return VerificationRules(
            terms={
                method: Terms(given.attempts, given.answer_within_minutes * _MINUTE_MS)
                for method, given in ((Method.CODE, self.code), (Method.KNOWLEDGE, self.knowledge))
            },
            holds_ms=self.holds_minutes * _MINUTE_MS,
            maximum_failures=self.maximum_failures,
            lock_ms=self.lock_minutes * _MINUTE_MS,
            options=self.options,
            own_options=self.own_options,
        )


def code_of(key: bytes, nonce: str) -> str:
    """The one-time code of a nonce: six digits, truncated as RFC 4226 does, over HMAC-SHA-256."""
    digest = hmac.digest(key, b"code\x1f" + nonce.encode(), hashlib.sha256)
    offset = digest[-1] & 0x0F
    number = int.from_bytes(digest[offset : offset + 4]) & 0x7FFF_FFFF
    return f"{number % 10**_CODE_DIGITS:0{_CODE_DIGITS}d}"


def begin_code(
    verification: Verification, rules: VerificationRules, key: bytes, nonce: str, now_ms: int
) -> Verification:
    """Ask for a one-time code; an open challenge ends.

    Raises:
        VerificationError: verification is locked.
    """
    _refuse_locked(verification, now_ms)
    _check_nonce(nonce)
    return _asked(verification, rules, Method.CODE, nonce, _answer_hash(key, nonce, code_of(key, nonce)), now_ms)


def begin_knowledge(
    verification: Verification,
    rules: VerificationRules,
    key: bytes,
    nonce: str,
    payments: Sequence[Payment],
    now_ms: int,
) -> Verification:
    """Ask which payments are the cardholder's; an open challenge ends.

    Args:
        verification: as it is.
        rules: of the playbook.
        key: the installation's.
        nonce: decides which payments are shown, what is made up, and in which order.
        payments: the cardholder's own, without any that are in question.
        now_ms: the time.

    Raises:
        VerificationError: verification is locked, or too few payments are known.
    """
    _refuse_locked(verification, now_ms)
    _check_nonce(nonce)
    own = _own_options(payments)
    if len(own) < rules.own_options:
        raise VerificationError(Obstacle.TOO_FEW_PAYMENTS)
    # Keyed, so that whoever knows the nonce cannot tell which are made up.
    chance = _Chance(hmac.digest(key, b"options\x1f" + nonce.encode(), hashlib.sha256))
    shown = chance.sample(own, rules.own_options)
    decoys = _decoys(own, rules.options - rules.own_options, chance)
    options = sorted([*shown, *decoys], key=lambda option: (-option.time_ms, option.amount_minor))
    answer = ",".join(str(place) for place, option in enumerate(options) if option in shown)
    asked = _asked(verification, rules, Method.KNOWLEDGE, nonce, _answer_hash(key, nonce, answer), now_ms)
    challenge = asked.challenge
    return msgspec.structs.replace(
        asked, challenge=challenge and msgspec.structs.replace(challenge, options=tuple(options))
    )


def answer_challenge(
    verification: Verification, rules: VerificationRules, key: bytes, answer: str, by: str, now_ms: int
) -> Verification:
    """Take an answer: six digits, or the places of the chosen options from 0, joined by commas.

    Returns:
        verified, or with one attempt less; the caller tells which from `verified_ms`.

    Raises:
        VerificationError: verification is locked, nothing was asked, or the challenge has ended.
    """
    _refuse_locked(verification, now_ms)
    challenge = verification.challenge
    if challenge is None:
        raise VerificationError(Obstacle.NOTHING_ASKED)
    if now_ms >= challenge.expires_ms:
        raise VerificationError(Obstacle.EXPIRED)
    given = _normal(answer) if challenge.method is Method.KNOWLEDGE else answer.strip()
    if hmac.compare_digest(_answer_hash(key, challenge.nonce, given), challenge.answer_hash):
        return _verified(rules, challenge.method, by, now_ms)
    failures = verification.failures + 1
    if failures >= rules.maximum_failures:
        return msgspec.structs.replace(verification, challenge=None, failures=0, locked_until_ms=now_ms + rules.lock_ms)
    left = challenge.attempts_left - 1
    still_open = msgspec.structs.replace(challenge, attempts_left=left) if left else None
    return msgspec.structs.replace(verification, challenge=still_open, failures=failures)


def record_seen(
    verification: Verification, rules: VerificationRules, method: Method, by: str, now_ms: int
) -> Verification:
    """Record what an agent did outside of the desk: called back, or saw a document.

    Raises:
        VerificationError: verification is locked.
        InvalidCommandError: the method is one that asks.
    """
    _refuse_locked(verification, now_ms)
    if method in ASKED:
        message = "method must be call_back or document where nothing is asked"
        raise InvalidCommandError(message)
    return _verified(rules, method, by, now_ms)


def _verified(rules: VerificationRules, method: Method, by: str, now_ms: int) -> Verification:
    return Verification(verified_ms=now_ms, verified_until_ms=now_ms + rules.holds_ms, method=method, by=by)


def _asked(
    verification: Verification, rules: VerificationRules, method: Method, nonce: str, answer_hash: str, now_ms: int
) -> Verification:
    terms = rules.terms[method]
    challenge = Challenge(method, nonce, answer_hash, now_ms + terms.answer_within_ms, terms.attempts)
    return msgspec.structs.replace(verification, challenge=challenge)


def _refuse_locked(verification: Verification, now_ms: int) -> None:
    if now_ms < verification.locked_until_ms:
        raise VerificationError(Obstacle.LOCKED)


def _check_nonce(nonce: str) -> None:
    if not MINIMUM_NONCE <= len(nonce) <= 64:
        message = f"nonce must have {MINIMUM_NONCE} to 64 characters"
        raise InvalidCommandError(message)


def _answer_hash(key: bytes, nonce: str, answer: str) -> str:
    return hmac.digest(key, f"answer\x1f{nonce}\x1f{answer}".encode(), hashlib.sha256).hex()


def _normal(answer: str) -> str:
    """Places in order, each once; what is no place leads to a text that no right answer has."""
    places = [part.strip() for part in answer.split(",")]
    if not all(place.isascii() and place.isdecimal() and len(place) <= 2 for place in places):
        return "?"
    return ",".join(str(place) for place in sorted({int(place) for place in places}))


def _own_options(payments: Sequence[Payment]) -> list[Option]:
    """What the cardholder can remember of their payments: when, how much."""
    options = []
    for payment in payments:
        time_ms, amount_minor, currency = (payment.get(name) for name in ("event_time_ms", "amount_minor", "currency"))
        if isinstance(time_ms, int | float) and isinstance(amount_minor, int | float) and amount_minor > 0:
            options.append(Option(int(time_ms), int(amount_minor), currency if isinstance(currency, str) else ""))
    return list(dict.fromkeys(options))


class _Chance:
    """A stream of numbers that a seed alone decides."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._drawn = 0

    def below(self, limit: int) -> int:
        """A whole number from 0 to `limit` - 1; 64 bits are so many that the remainder favours none noticeably."""
        self._drawn += 1
        digest = hmac.digest(self._seed, self._drawn.to_bytes(8), hashlib.sha256)
        return int.from_bytes(digest[:8]) % limit

    def sample(self, options: Sequence[Option], count: int) -> list[Option]:
        """So many different ones."""
        left = list(options)
        return [left.pop(self.below(len(left))) for _ in range(count)]


def _decoys(own: Sequence[Option], count: int, chance: _Chance) -> list[Option]:
    """Payments that nobody made.

    Raises:
        VerificationError: the cardholder's payments are so many and so alike that none can be made up beside them.
    """
    decoys: list[Option] = []
    for _ in range(_TRIES * count):
        decoy = _decoy(own, chance)
        if not any(_alike(decoy, other) for other in (*own, *decoys)):
            decoys.append(decoy)
        if len(decoys) == count:
            return decoys
    raise VerificationError(Obstacle.TOO_FEW_PAYMENTS)


def _decoy(own: Sequence[Option], chance: _Chance) -> Option:
    """A payment that could be theirs: an amount and a time of the same size as their own."""
    like, when = own[chance.below(len(own))], own[chance.below(len(own))]
    amount_minor = like.amount_minor * (35 + chance.below(225)) // 100
    # Prices end as the cardholder's own do, or decoys would stand out.
    ending = next((unit for unit in (10_000, 1_000, 100, 50, 10, 5) if like.amount_minor % unit == 0), 1)
    amount_minor = max(ending, amount_minor // ending * ending)
    return Option(when.time_ms - chance.below(3 * _DAY_MS), amount_minor, like.currency)


def _alike(first: Option, second: Option) -> bool:
    """Whether two payments cannot fairly be told apart from memory."""
    near = abs(first.amount_minor - second.amount_minor) * 10 <= max(first.amount_minor, second.amount_minor)
    return near and abs(first.time_ms - second.time_ms) < 2 * _DAY_MS


def without_payments(
    payments: Sequence[Payment], transaction_ids: Sequence[str], times_ms: Sequence[int]
) -> list[Payment]:
    """Payments without those in question, known by their id or, where the engine remembers none, by their time."""
    return [
        payment
        for payment in payments
        if payment.get("transaction_id") not in transaction_ids and payment.get("event_time_ms") not in times_ms
    ]


def forgotten(verification: Verification) -> Verification:
    """The same without what was verified or asked, the lock and its failures kept: for a case that is closed."""
    return Verification(failures=verification.failures, locked_until_ms=verification.locked_until_ms)
