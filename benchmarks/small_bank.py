"""A small bank: the engine over one partition, the shipped models, and labels as a benchmark has somebody give them.

Nothing of detection is simulated: payments are assessed by the engine, labels are joined by it, the trainer learns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cardwatch.settings import shipped_toml
from detector.assessments import Assessments
from detector.catalogue import DAY_MS
from detector.engine import assess_batch
from detector.examples import Examples
from detector.labels import apply_labels, build_label_batch, mature
from detector.models import ModelsConfig, Trainer
from detector.policy import Policy
from detector.rates import RateTable
from detector.state import EngineState, StateConfig
from detector.transactions import TransactionBatch
from detector.vocabulary import LabelSource

KEY = bytes(range(16))
START_MS = 1_767_225_600_000
_REMEMBERED_DAYS = 45
_BUCKETS = 2_000_000


@dataclass(frozen=True, slots=True)
class Size:
    """What there must be room for; `maturity_days` after a payment silence makes it genuine."""

    cards: int
    merchants: int
    payments_a_day: int
    maturity_days: int


class SmallBank:
    """Cardwatch over one partition, a day at a time.

    Attributes:
        trainer: of its models, which have learned nothing yet.
    """

    def __init__(self, size: Size, models: ModelsConfig, policy: Policy) -> None:
        """Open with no history."""
        config = StateConfig(
            KEY, cards=2 * size.cards, events=_REMEMBERED_DAYS * size.payments_a_day,
            payments=(size.maturity_days + 3) * size.payments_a_day, entities=4 * size.merchants, buckets=_BUCKETS,
            maturity_ms=size.maturity_days * DAY_MS,
        )  # fmt: skip
        self._state = EngineState(config, RateTable("none", "EUR", {"EUR": 1.0}))
        self._state.open_partition(0)
        self._policy = policy
        self.trainer = Trainer(models)
        self._labels = 0

    def assess(self, number: int, batch: TransactionBatch) -> Assessments:
        """Score the payments of day `number` by what the models have learned until then."""
        return assess_batch(self._state, batch, self.trainer.scorer(f"m-{number:06d}"), self._policy)

    def label(
        self,
        batch: TransactionBatch,
        rows: NDArray[np.int64],
        label: NDArray[np.int64],
        source: LabelSource,
        now_ms: int,
        labelled_by: Sequence[str] | None = None,
    ) -> Examples:
        """What the engine makes of labels.

        Args:
            batch: payments that were assessed.
            rows: which of them are labelled.
            label: int64, of each of `rows`: 1 fraud, 0 genuine.
            source: where all of them come from.
            now_ms: when they become known.
            labelled_by: who says so, a name for each of `rows`; not known if not given.
        """
        columns: dict[str, Any] = {
            "transaction_id": [batch.transaction_id[row] for row in rows.tolist()],
            "card_token": [batch.card_token[row] for row in rows.tolist()],
            "label": label, "label_time_ms": np.full(len(rows), now_ms),
            "source": np.full(len(rows), int(source)),
        }  # fmt: skip
        if labelled_by is not None:
            columns["labelled_by"] = labelled_by
        offset = np.arange(self._labels, self._labels + len(rows))
        self._labels += len(rows)
        return apply_labels(self._state, build_label_batch(columns, key=KEY, offset=offset)).examples

    def silent(self, now_ms: int) -> Iterator[Examples]:
        """Payments that become genuine because nobody has complained of them."""
        while len(silent := mature(self._state, 0, now_ms).examples):
            yield silent


def shipped_models() -> ModelsConfig:
    """The models as shipped."""
    return ModelsConfig.from_mapping(shipped_toml("models.toml"))


def policy_of_models(**changes: Any) -> Policy:
    """The shipped policy without rules, so that the models alone decide; `changes` are of its top level."""
    return Policy.from_mapping(shipped_toml("policy.toml") | {"rules": []} | changes)
