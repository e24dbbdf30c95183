"""A model version: everything a scorer needs, immutable, and where it was asked for everything a trainer needs.

On the wire it is an npz archive of plain arrays and one JSON text: data, never code. Nothing in it is unpickled, every
array is checked for type, shape and range before a kernel sees it, and equal versions have equal bytes.

A version holds its champion and, as versions of their own, the compiled challengers: scorers ask them beside it, and a
trainer goes on with all of them. A version for scoring alone holds no state of an optimiser: a replay publishes
thousands of them. See `weights` of `Trainer.scorer`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.errors import ModelError
from detector.jit import kernel
from detector.models import archive, codec
from detector.models.bins import BIN_CODES, Binner
from detector.models.calibration import calibrated
from detector.models.checks import (
    ANOMALY_SAMPLE,
    check_linear,
    check_shapes,
    check_shared,
    check_slopes,
    check_values,
)
from detector.models.contest import KEPT_VERDICTS, Verdict
from detector.models.fields import BLOCK, Fields, Layout, slots_of_block
from detector.models.forest import Forest, room, score_rows
from detector.models.learned import LinearState, SharedState, arrays_of
from detector.models.logistic import log_odds_of_block, sigmoid

_SHOWN_DIGEST = 16


@kernel
def _score_rows(
    bins: NDArray[np.uint8],
    layout: Layout,
    weights: NDArray[np.float64],
    intercept: float,
    offsets: NDArray[np.float64],
    columns: NDArray[np.uint8],
    slots: NDArray[np.int32],
    log_odds: NDArray[np.float64],
    scores: NDArray[np.float64],
) -> None:
    """Calibrated probability of fraud of each row.

    `columns`, `slots` and `log_odds` are room for a block.
    """
    for start in range(0, bins.shape[0], BLOCK):
        rows = min(BLOCK, bins.shape[0] - start)
        slots_of_block(bins, start, rows, layout, columns, slots)
        log_odds_of_block(rows, slots, weights, intercept, log_odds)
        for row in range(rows):
            scores[start + row] = sigmoid(calibrated(log_odds[row], offsets))


@kernel
def _contribution_rows(
    slots: NDArray[np.int32],
    layout: Layout,
    weights: NDArray[np.float64],
    means: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Each field's log-odds over its mean, in equal shares for its features."""
    for row in range(slots.shape[0]):
        out[row] = 0.0
        for field in range(slots.shape[1]):
            features = 0
            for part in range(layout.parts.shape[1]):
                features += 1 if layout.parts[field, part, 3] != 0 else 0
            share = (weights[slots[row, field]] - means[field]) / features
            for part in range(features):
                out[row, layout.parts[field, part, 0]] += share


@dataclass(frozen=True, eq=False)
class ModelVersion:
    """One published state of the models. Its arrays are read-only.

    Attributes:
        name: as "m-000001".
        model: name of the contender it is of, "champion" for that of `[logistic]`.
        catalogue_digest: of the feature catalogue that it was made for.
        configuration_digest: of how its models are built and learn.
        created_from: name of the version that the trainer went on from, "" for none.
        examples_offset: next offset on `cardwatch.examples.v1`.
        examples_learned, frauds_learned: labelled examples, and frauds among them, learned so far.
        trained_from_ms, trained_to_ms: earliest and latest label time learned, 0 for none.
        cold_start_frauds: frauds to be learned before the models may freeze a card.
        log_loss, average_precision: on the window of the calibration, each example before it was learned.
        fields: features, grids, and what of them is added up.
        weights: float64 a slot, slopes in them.
        intercept: float64[1].
        offsets: float64[129], what calibration adds to the log-odds; see `calibration`.
        means: float64[K], mean log-odds that each field gave to what was learned.
        bin_counts: float64[F, 256], how often each bin of a feature was learned.
        forest: the trees, ready to score.
        anomaly_sample: float32[16384], a ring of the anomaly scores that the latest unlabelled examples had before they
            were learned; NaN where not filled.
        anomalies_sampled: how many scores the ring has taken in.
        verdicts: changes of champions, oldest first, the last thousand.
        challengers: the compiled contenders that do not act.
        state: what a trainer needs to go on with this contender; None in a version for scoring alone.
        shared: what it needs besides; None in a version for scoring alone and in a challenger's.
    """

    name: str
    model: str
    catalogue_digest: str
    configuration_digest: str
    created_from: str
    examples_offset: int
    examples_learned: int
    frauds_learned: int
    trained_from_ms: int
    trained_to_ms: int
    cold_start_frauds: int
    log_loss: float
    average_precision: float
    fields: Fields
    weights: NDArray[np.float64]
    intercept: NDArray[np.float64]
    offsets: NDArray[np.float64]
    means: NDArray[np.float64]
    bin_counts: NDArray[np.float64]
    forest: Forest
    anomaly_sample: NDArray[np.float32]
    anomalies_sampled: int
    verdicts: tuple[Verdict, ...] = ()
    challengers: tuple[ModelVersion, ...] = ()
    state: LinearState | None = None
    shared: SharedState | None = None

    def __post_init__(self) -> None:
        """Check what kernels rely on, and lock the arrays.

        Raises:
            ModelError: an array has another shape, or, with a learner's state, a value that no trainer makes.
        """
        check_shapes(self)
        if self.state is not None:
            check_values(self)
            check_linear(self.state, self.fields.slot_count)
            check_slopes(self.binner, self.state.slopes)
        if self.shared is not None:
            check_shared(self.binner, self.shared)
        for part in (self.state, self.shared, tuple(vars(self).values())):
            for column in arrays_of(part):
                column.setflags(write=False)

    @property
    def binner(self) -> Binner:
        """What finds the bins of features."""
        return self.fields.binner

    @property
    def is_cold(self) -> bool:
        """Whether too few frauds have been learned for the models to freeze cards."""
        return self.frauds_learned < self.cold_start_frauds

    @cached_property
    def usual_values(self) -> NDArray[np.float64]:
        """Usual value of each feature: the middle of its median bin over what was learned; NaN where unknown."""
        binner = self.binner
        is_missing = np.arange(BIN_CODES) >= binner.missing_bins[:, None]
        known = np.cumsum(np.where(is_missing, 0.0, self.bin_counts), axis=1)
        medians = (known < known[:, -1:] / 2.0).sum(axis=1)
        usual = binner.middles[np.arange(binner.feature_count), medians]
        return np.where(known[:, -1] > 0.0, usual, np.nan)

    @cached_property
    def _sorted_anomalies(self) -> NDArray[np.float32]:
        """The sampled anomaly scores, lowest first."""
        return np.sort(self.anomaly_sample[: min(self.anomalies_sampled, ANOMALY_SAMPLE)])

    def anomaly_level(self, share: float) -> float:
        """The anomaly score that this share of payments lies above; infinite while too few are known to say.

        What is high differs from one portfolio to another, so policies speak of shares and not of scores.
        """
        known = self._sorted_anomalies
        if share * len(known) < 1.0:
            return float("inf")
        return float(known[max(len(known) - 1 - math.floor(share * len(known)), 0)])

    @property
    def base_log_odds(self) -> float:
        """Log-odds of the average payment; with all contributions of a row it makes that row's, before calibration."""
        return float(self.intercept[0]) + float(self.means.sum())

    def require_catalogue(self, digest: str) -> None:
        """Refuse to score features of another catalogue.

        Raises:
            ModelError: the version was made for another one.
        """
        if digest != self.catalogue_digest:
            message = f"model {self.name} was made for feature catalogue {self.catalogue_digest}, this one is {digest}"
            raise ModelError(message)

    def anomalies(self, bins: NDArray[Any]) -> NDArray[np.float64]:
        """Anomaly scores of rows, 0 to 1, by the trees that need no label.

        Args:
            bins: uint8 (n, F), of `binner`; trees do not look at the bin of the anomaly score itself.

        Returns:
            float64 (n,); a row's bits do not depend on the rows beside it.
        """
        matrix = self.binner.matrix(bins)
        anomalies = np.zeros(len(matrix))
        if self.forest.scale:
            score_rows(matrix, self.forest, room(), np.zeros(len(matrix), dtype=np.int64), anomalies)
        return anomalies

    def probabilities(self, bins: NDArray[Any]) -> NDArray[np.float64]:
        """Calibrated probabilities of fraud.

        Args:
            bins: uint8 (n, F), of `binner`, that of the anomaly score among them.

        Returns:
            float64 (n,); a row's bits do not depend on the rows beside it.
        """
        matrix = self.binner.matrix(bins)
        scores = np.empty(len(matrix))
        columns, slots = self.fields.room()
        _score_rows(
            matrix, self.fields.layout, self.weights, float(self.intercept[0]), self.offsets,
            columns, slots, np.empty(BLOCK), scores,
        )  # fmt: skip
        return scores

    def probability_without(self, bins: NDArray[Any], unheard: NDArray[np.bool_]) -> float:
        """Calibrated probability of fraud of one payment if some features were not heard where they speak for fraud.

        Args:
            bins: uint8 (1, F), of `binner`.
            unheard: bool[F], the features; what they say against fraud still counts.
        """
        (contributions,) = self.contributions(bins)
        heard = np.where(unheard, np.minimum(contributions, 0.0), contributions)
        return float(sigmoid(calibrated(self.base_log_odds + float(heard.sum()), self.offsets)))

    def for_scoring(self) -> ModelVersion:
        """The same without what only a trainer needs: a scorer holds three arrays of all slots less a contender."""
        challengers = tuple(replace(challenger, state=None) for challenger in self.challengers)
        return replace(self, state=None, shared=None, challengers=challengers)

    def contributions(self, bins: NDArray[Any]) -> NDArray[np.float64]:
        """Explain rows: what each feature adds to the log-odds over its own average.

        Args:
            bins: uint8 (m, F).

        Returns:
            float64 (m, F); what a cross adds goes in equal shares to its features. A row's sum and `base_log_odds` make
            its log-odds before calibration.
        """
        slots = self.fields.slots(bins)
        out = np.empty((len(slots), self.binner.feature_count))
        _contribution_rows(slots, self.fields.layout, self.weights, self.means, out)
        return out

    def republished(
        self, name: str, newest: ModelVersion, kind: str, time_ms: int, by: tuple[str, str]
    ) -> ModelVersion:
        """This version as the next one, because a person says so.

        What was learned after it is not learned again: its successor begins where the newest one stands. What is known
        of drift is the newest one's, for the payments are no others than they were.

        Args:
            name: of the next version.
            newest: what acts now.
            kind: of the verdict that is kept of it.
            time_ms: now.
            by: who says so, and why.

        Raises:
            ModelError: a version for scoring alone.
        """
        if self.shared is None or newest.shared is None:
            message = f"model {self.name} is for scoring alone: nobody can go on from it"
            raise ModelError(message)
        shared = replace(self.shared, drift=newest.shared.drift)
        made = self._next(name, newest, Verdict(kind, self.name, newest.name, time_ms, 0.0, 0.0, 0.0, *by))
        return replace(made, shared=shared)

    def crowned(self, name: str, challenger: str, kind: str, time_ms: int, by: tuple[str, str]) -> ModelVersion:
        """The next version, of one of this one's challengers, because a person says so; all begin to compare anew.

        Args:
            name: of the next version.
            challenger: its name.
            kind: of the verdict that is kept of it.
            time_ms: now.
            by: who says so, and why.

        Raises:
            ModelError: no such challenger, or a version for scoring alone.
        """
        contenders = [_compared_anew(contender) for contender in (self, *self.challengers)]
        for place, contender in enumerate(contenders):
            if place and contender.model == challenger and self.shared is not None:
                others = [
                    replace(other, challengers=(), shared=None, verdicts=())
                    for other in contenders
                    if other is not contender
                ]
                whole = replace(
                    contender, verdicts=self.verdicts, challengers=tuple(others), shared=_all_anew(self.shared)
                )
                verdict = Verdict(kind, challenger, self.model, time_ms, 0.0, 0.0, 0.0, *by)
                return whole._next(name, self, verdict)  # noqa: SLF001 - its own class
        message = f"model {self.name} has no challenger {challenger} that could act"
        raise ModelError(message)

    def _next(self, name: str, newest: ModelVersion, verdict: Verdict) -> ModelVersion:
        """This version under the next name."""
        lineage: dict[str, Any] = {
            "name": name, "created_from": self.name, "examples_offset": newest.examples_offset
        }  # fmt: skip
        challengers = tuple(replace(challenger, **lineage) for challenger in self.challengers)
        verdicts = (*newest.verdicts, verdict)[-KEPT_VERDICTS:]
        return replace(self, **lineage, challengers=challengers, verdicts=verdicts)

    @property
    def digest(self) -> str:
        """Hex digest of all that was learned and how, whatever the version is called: equal ones go on alike.

        Raises:
            ModelError: a version for scoring alone.
        """
        meta, arrays = codec.parts_of(self)
        named = {"name", "created_from"}
        kept = {key: value for key, value in meta.items() if key not in named}
        return archive.digest_of(kept, arrays).hex()[:_SHOWN_DIGEST]

    def to_bytes(self) -> bytes:
        """Encode as an archive; equal versions give equal bytes.

        Raises:
            ModelError: a version for scoring alone.
        """
        return archive.pack(*codec.parts_of(self))

    @classmethod
    def from_bytes(cls, data: bytes) -> ModelVersion:
        """Decode and check what `to_bytes` made.

        Raises:
            ModelError: damaged, of another format, or holding what no trainer makes.
        """
        values, contenders, verdicts = codec.values_of(*archive.unpack(data))
        shared = values.pop("shared")
        challengers = tuple(cls(**values, **own) for own in contenders[1:])
        return cls(**values, **contenders[0], challengers=challengers, shared=shared, verdicts=verdicts)


def _compared_anew(contender: ModelVersion) -> ModelVersion:
    """A contender of which nothing is known against the champion."""
    state = contender.state
    if state is None:
        return contender
    standing = replace(state.standing, contest=np.zeros_like(state.standing.contest))
    return replace(contender, state=replace(state, standing=standing))


def _all_anew(shared: SharedState) -> SharedState:
    """The same for those that are only compared."""
    standings = shared.compared.items()
    anew = {name: replace(known, contest=np.zeros_like(known.contest)) for name, known in standings}
    return replace(shared, compared=anew)
