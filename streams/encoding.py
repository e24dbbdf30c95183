"""Decisions and alerts as the contract writes them.

Nearly every decision is ALLOW: `streams.plain_decisions` writes a whole batch of them in one go. Every other one is a
dictionary with all its evidence and CloudEvents headers, and its alert is a copy of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from detector.shadows import Shadow
from detector.texts import unpack_letters
from detector.transactions import COUNTRY_LETTERS, CURRENCY_LETTERS, TransactionBatch
from detector.vocabulary import DEADLINE_PASSED, FLAG_NAMES, SCORING_FAILED, Action, Flag
from streams.events import RECORD_TIME_HEADER, Outgoing, cloud_event
from streams.topics import DECISIONS, TRANSACTIONS

DECISION_TYPE = "cardwatch.decision.v1"
_SOURCE, GATEWAY_SOURCE = "/cardwatch/score", "/cardwatch/gateway"
_ACTION_WIRE = {int(action): action.wire for action in Action}
_encoder = msgspec.json.Encoder()


class EvidenceLike(Protocol):
    """Evidence of one reason, as the engine gives it."""

    @property
    def code(self) -> str:
        """The reason code."""
        ...

    @property
    def text_key(self) -> str:
        """Which sentence explains it."""
        ...

    @property
    def observed(self) -> Any:
        """What the payment showed."""
        ...

    @property
    def usual(self) -> Any:
        """What is usual."""
        ...

    @property
    def contribution(self) -> float:
        """Share of the score in log-odds."""
        ...


class AlertEvidenceLike(Protocol):
    """What an alert shows, as the engine gives it."""

    @property
    def alert_id(self) -> str:
        """Derived from the transaction's identity."""
        ...

    @property
    def evidence(self) -> Sequence[EvidenceLike]:
        """Strongest first."""
        ...

    @property
    def last_payments(self) -> Sequence[Mapping[str, Any]]:
        """The card's last payments."""
        ...


class AssessmentsLike(Protocol):
    """The engine's answer to a batch: a column per field, one row a record; see `detector.assessments`."""

    @property
    def batch(self) -> TransactionBatch:
        """What was assessed."""
        ...

    @property
    def action(self) -> NDArray[np.int64]:
        """Codes of `Action`."""
        ...

    @property
    def score(self) -> NDArray[np.float64]:
        """Probability of fraud."""
        ...

    @property
    def anomaly(self) -> NDArray[np.float64]:
        """0 to 1."""
        ...

    @property
    def flags(self) -> NDArray[np.int64]:
        """Bit masks of `Flag`."""
        ...

    @property
    def expected_loss_minor(self) -> NDArray[np.int64]:
        """In the transaction's currency."""
        ...

    @property
    def rule_hits(self) -> NDArray[np.int64]:
        """Bit masks over the policy's rules."""
        ...

    @property
    def evidence(self) -> Mapping[int, AlertEvidenceLike]:
        """Of rows that are not ALLOW."""
        ...

    @property
    def shadows(self) -> Sequence[Shadow]:
        """What those would have decided that do not act."""
        ...

    def reason_codes(self, row: int) -> list[str]:
        """Reason codes of a row, strongest first."""
        ...


@dataclass(frozen=True, slots=True)
class Versions:
    """What a decision was made with.

    Attributes:
        rule_ids: rule names by their bit in `rule_hits`.
    """

    model: str
    policy: str
    rates: str
    rule_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Subject:
    """What a decision is about."""

    transaction_id: str
    card_token: str
    event_time_ms: int
    partition: int
    offset: int

    @property
    def event_id(self) -> str:
        """The CloudEvents id of a decision that raises no alert."""
        return f"{TRANSACTIONS}/{self.partition}/{self.offset}"


class NotFiniteError(ValueError):
    """A score that is not a number, and that JSON cannot carry."""


def flag_texts(flags: int) -> list[str]:
    """Wire names of a bit mask."""
    return [name for bit, name in FLAG_NAMES if flags & bit]


def shadows_told(assessed: AssessmentsLike, row: int) -> list[dict[str, Any]]:
    """What a decision says of those that do not act; nothing of a repeated payment, which keeps its first answer."""
    if int(assessed.flags[row]) & Flag.DUPLICATE:
        return []
    return [
        {
            "model": shadow.model,
            "policy": shadow.policy,
            "score": float(shadow.score[row]),
            "action": _ACTION_WIRE[int(shadow.action[row])],
        }
        for shadow in assessed.shadows
    ]


def rule_ids_of(hits: int, versions: Versions) -> list[str]:
    """Names of the rules that hit."""
    return [rule for bit, rule in enumerate(versions.rule_ids) if hits >> bit & 1]


def encode_full(
    assessed: AssessmentsLike,
    versions: Versions,
    row: int,
    *,
    timestamp_ms: int,
    now_ms: int,
    traceparent: bytes | None,
) -> Outgoing:
    """Encode one decision with everything the contract has for it. Unless it is ALLOW, its alert is a copy of it.

    Args:
        assessed: the engine's answer.
        versions: what it was made with.
        row: the row to encode.
        timestamp_ms: Kafka's timestamp of the source record; the time to a freeze is measured from it.
        now_ms: when it is decided.
        traceparent: trace context of the source record.

    Raises:
        NotFiniteError: its score is not a number.
    """
    batch = assessed.batch
    if not (np.isfinite(assessed.score[row]) and np.isfinite(assessed.anomaly[row])):
        message = "a score must be finite"
        raise NotFiniteError(message)
    action = int(assessed.action[row])
    subject = Subject(
        batch.transaction_id[row] or "", batch.card_token[row] or "", int(batch.event_time_ms[row]), batch.partition,
        int(batch.offset[row]),
    )  # fmt: skip
    fields: dict[str, Any] = {
        **_common_fields(subject, _ACTION_WIRE[action], versions),
        "score": float(assessed.score[row]),
        "anomaly": float(assessed.anomaly[row]),
        "reasons": list(assessed.reason_codes(row))[:4],
        "rules": rule_ids_of(int(assessed.rule_hits[row]), versions),
        "expected_loss_minor": int(assessed.expected_loss_minor[row]),
        "flags": flag_texts(int(assessed.flags[row])),
    }
    event_id = subject.event_id
    told = shadows_told(assessed, row)
    if told:
        fields["shadow"] = told
    if action != Action.ALLOW:
        shown = assessed.evidence[row]
        event_id = shown.alert_id
        fields |= {
            "alert_id": shown.alert_id,
            "evidence": [
                {
                    "code": item.code,
                    "text_key": item.text_key,
                    "observed": item.observed,
                    "usual": item.usual,
                    "contribution": item.contribution,
                }
                for item in shown.evidence
            ],
            "last_payments": list(shown.last_payments),
            "amount_minor": int(batch.amount_minor[row]),
            "currency": unpack_letters(int(batch.currency[row]), CURRENCY_LETTERS),
            "merchant_id": batch.merchant_id[row],
            "country": unpack_letters(int(batch.country_code[row]), COUNTRY_LETTERS),
            "terminal_ref": _reference(batch.terminal[row]),
            "device_ref": _reference(batch.device[row]),
        }
    headers = cloud_event(event_id, DECISION_TYPE, _SOURCE, now_ms, traceparent)
    headers.append((RECORD_TIME_HEADER, str(timestamp_ms).encode()))
    return Outgoing(DECISIONS, batch.partition, subject.card_token.encode(), _encoder.encode(fields), headers)


def _reference(fingerprint: NDArray[np.uint64]) -> str | None:
    """An opaque name of a terminal or device: cases of the same one can be told from it, and nothing else can."""
    return f"{int(fingerprint[0]):016x}{int(fingerprint[1]):016x}" if fingerprint.any() else None


def _common_fields(subject: Subject, action: str, versions: Versions) -> dict[str, Any]:
    """What every decision has, whatever the engine said."""
    return {
        "transaction_id": subject.transaction_id,
        "card_token": subject.card_token,
        "event_time_ms": subject.event_time_ms,
        "action": action,
        "model_version": versions.model,
        "policy_version": versions.policy,
        "rates_version": versions.rates,
        "source": {"topic": TRANSACTIONS, "partition": subject.partition, "offset": subject.offset},
    }


def encode_fallback(subject: Subject, versions: Versions, now_ms: int, traceparent: bytes | None) -> Outgoing:
    """Encode the decision on a record that our own code failed on: ALLOW, flagged `degraded`, with no score.

    A payment is not refused because of a bug of ours; the flag, the dead letter and the metric say that nobody looked.
    """
    return _encode_unseen(subject, Action.ALLOW, SCORING_FAILED, versions, _SOURCE, now_ms, traceparent)


def encode_late(subject: Subject, action: Action, versions: Versions, now_ms: int) -> Outgoing:
    """Encode what a waiting caller was told because its deadline came first: flagged `degraded`, with no score.

    It raises no alert, whatever it says: nobody has looked yet. What the engine says afterwards raises one.
    """
    return _encode_unseen(subject, action, DEADLINE_PASSED, versions, GATEWAY_SOURCE, now_ms, None)


def _encode_unseen(
    subject: Subject,
    action: Action,
    reason: str,
    versions: Versions,
    source: str,
    now_ms: int,
    traceparent: bytes | None,
) -> Outgoing:
    """A decision that rests on nothing but its one reason."""
    fields = _common_fields(subject, action.wire, versions) | {
        "score": 0.0,
        "anomaly": 0.0,
        "reasons": [reason],
        "rules": [],
        "expected_loss_minor": 0,
        "flags": flag_texts(Flag.DEGRADED),
    }
    headers = cloud_event(subject.event_id, DECISION_TYPE, source, now_ms, traceparent)
    return Outgoing(DECISIONS, subject.partition, subject.card_token.encode(), _encoder.encode(fields), headers)
