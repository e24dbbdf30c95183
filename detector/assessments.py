"""What the engine answers: a column per field, and evidence for what is not plainly allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.examples import Examples
from detector.reasons import Evidence
from detector.recent import payment_of
from detector.shadows import Shadow, join_shadows
from detector.sources import SharedRows, join_rows
from detector.transactions import TransactionBatch


@dataclass(frozen=True, slots=True)
class AlertEvidence:
    """What a person needs to judge a decision.

    Attributes:
        alert_id: derived from the transaction's identity.
        reasons: codes, strongest first, at most four.
        evidence: observed and usual values behind the reasons, then of what spoke against fraud.
        events: the card's last payments as words of state; `last_payments` makes them readable.
        names: texts of merchants by the first word of their fingerprint.
    """

    alert_id: str
    reasons: Sequence[str]
    evidence: Sequence[Evidence]
    events: Sequence[Sequence[int]]
    names: Mapping[int, str] = field(repr=False, compare=False)

    @property
    def last_payments(self) -> list[dict[str, Any]]:
        """The card's last payments, youngest first, this one included, at most 20."""
        return [payment_of(words, self.names) for words in self.events]


@dataclass(frozen=True, slots=True)
class Assessments:
    """The answer to a batch, one row a record.

    Attributes:
        batch: what was assessed.
        action: int64 codes of `Action`.
        score: float64, calibrated probability of fraud.
        anomaly: float64, 0 to 1, from the model that needs no label.
        flags: int64 bit masks of `Flag`.
        expected_loss_minor: int64, minor units of the transaction's currency.
        rule_hits: int64 bit masks over the policy's rules.
        effective_time_ms: int64, the time at which it was scored.
        duplicate: bool, whether it repeats an earlier transaction and answers with its decision.
        payment_row: int64, where the payment is remembered, for `adopt_decision`.
        features: float32 (n, FEATURE_COUNT), NaN where missing.
        evidence: rows that are not ALLOW.
        rule_reasons: reason codes of rows on which rules hit.
        unlabelled: a sample of examples for models that need no label.
        shared: what the batch changes in shared entities, for other workers.
        shadows: what those would have decided that do not act.
    """

    batch: TransactionBatch
    action: NDArray[np.int64]
    score: NDArray[np.float64]
    anomaly: NDArray[np.float64]
    flags: NDArray[np.int64]
    expected_loss_minor: NDArray[np.int64]
    rule_hits: NDArray[np.int64]
    effective_time_ms: NDArray[np.int64]
    duplicate: NDArray[np.bool_]
    payment_row: NDArray[np.int64]
    features: NDArray[np.float32]
    evidence: Mapping[int, AlertEvidence]
    unlabelled: Examples
    shared: SharedRows
    rule_reasons: Mapping[int, Sequence[str]] = field(default_factory=dict)
    shadows: Sequence[Shadow] = ()

    def __len__(self) -> int:
        """Number of records."""
        return len(self.batch)

    def reason_codes(self, row: int) -> list[str]:
        """Reason codes of a row, strongest first; empty for a plain ALLOW."""
        if row in self.evidence:
            return list(self.evidence[row].reasons)
        return list(self.rule_reasons.get(row, ()))


def join_assessments(batch: TransactionBatch, parts: Sequence[Assessments]) -> Assessments:
    """The answer to a batch from the answers to its pieces, in order."""
    columns = (
        "action", "score", "anomaly", "flags", "expected_loss_minor", "rule_hits", "effective_time_ms", "duplicate",
        "payment_row", "features",
    )  # fmt: skip
    evidence: dict[int, AlertEvidence] = {}
    rule_reasons: dict[int, Sequence[str]] = {}
    start = 0
    for part in parts:
        evidence |= {start + row: shown for row, shown in part.evidence.items()}
        rule_reasons |= {start + row: codes for row, codes in part.rule_reasons.items()}
        start += len(part)
    return Assessments(
        batch=batch,
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in columns},
        evidence=evidence,
        unlabelled=Examples.join([part.unlabelled for part in parts], parts[0].unlabelled.bins.shape[1]),
        shared=join_rows([part.shared for part in parts]),
        rule_reasons=rule_reasons,
        shadows=join_shadows([part.shadows for part in parts]),
    )
