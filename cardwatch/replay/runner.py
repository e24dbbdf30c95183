"""The replay itself: the very engine of the stream, learning from labels as they become known."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa

from cardwatch.replay.labelling import KnownLabels, LabelQueue
from cardwatch.replay.source import Transactions
from detector.assessments import Assessments
from detector.catalogue import HOUR_MS
from detector.engine import assess_batch
from detector.labels import LabelBatch, apply_labels, mature
from detector.models.calibration import Evidence
from detector.models.config import ModelsConfig
from detector.models.contest import Verdict
from detector.models.drift import DriftMonitor, DriftObserver
from detector.models.trainer import Trainer
from detector.models.version import ModelVersion
from detector.policy import Policy
from detector.state import EngineState
from detector.transactions import TransactionBatch, build_batch
from detector.vocabulary import Action, LabelSource

SLAB_ROWS = 65_536
# Rows scored at once: a label may act this much later than it became known, never earlier.
_BATCH_ROWS = 512
_VERSION_EVERY_MS = HOUR_MS
_ACTION_NAMES = pa.array([action.wire for action in Action], pa.string())

OUTPUT_SCHEMA = pa.schema(
    [
        ("transaction_id", pa.string()),
        ("event_time_ms", pa.int64()),
        ("score", pa.float64()),
        ("anomaly", pa.float64()),
        ("action", pa.string()),
        ("reasons", pa.list_(pa.string())),
        ("flags", pa.int64()),
        ("expected_loss_minor", pa.int64()),
        ("model_version", pa.string()),
    ]
)


class _Answers:
    """What was answered to the rows of a slab, a column per field.

    Attributes:
        score, anomaly: float64.
        action, flags, expected_loss_minor: int64, see `Assessments`.
        models: names of the versions that scored.
        model: int64, which of `models` scored a row.
    """

    def __init__(self, rows: int) -> None:
        """Make room."""
        self.score, self.anomaly = np.empty(rows), np.empty(rows)
        self.action, self.flags, self.expected_loss_minor, self.model = np.empty((4, rows), dtype=np.int64)
        self.models: list[str] = []
        self._reason_rows: list[int] = []
        self._reason_codes: list[list[str]] = []

    def keep(self, start: int, assessments: Assessments, model_version: str) -> None:
        """Take over the answers to the rows from `start` on; they come in order."""
        rows = slice(start, start + len(assessments))
        self.score[rows], self.anomaly[rows] = assessments.score, assessments.anomaly
        self.action[rows], self.flags[rows] = assessments.action, assessments.flags
        self.expected_loss_minor[rows] = assessments.expected_loss_minor
        if self.models[-1:] != [model_version]:
            self.models.append(model_version)
        self.model[rows] = len(self.models) - 1
        for row in sorted(assessments.evidence):
            self._reason_rows.append(start + row)
            self._reason_codes.append(assessments.reason_codes(row))

    def reasons(self) -> pa.ListArray:
        """Reason codes of every row; few rows have any."""
        counts = np.zeros(len(self.score) + 1, dtype=np.int32)
        counts[np.array(self._reason_rows, dtype=np.int64) + 1] = [len(codes) for codes in self._reason_codes]
        flat = [code for codes in self._reason_codes for code in codes]
        ends = np.cumsum(counts, dtype=np.int32)
        return pa.ListArray.from_arrays(pa.array(ends), pa.array(flat, pa.string()))


class Replay:
    """One run over one file.

    Attributes:
        frauds_learned: how many frauds the models have learned.
    """

    def __init__(
        self,
        transactions: Transactions,
        labels: KnownLabels,
        state: EngineState,
        models: ModelsConfig,
        policy: Policy,
        alerted_after_ms: int | None = None,
    ) -> None:
        """Start with an empty state and models that know nothing.

        Args:
            transactions: of the file.
            labels: of them.
            state: empty.
            models: how the models are built and learn.
            policy: what decides.
            alerted_after_ms: how long after an alert its payment's label is known, where that is sooner.
        """
        self._transactions = transactions
        self._labels = LabelQueue(labels, transactions.event_time_ms, alerted_after_ms)
        self._state = state
        self._policy = policy
        self._trainer = Trainer(models)
        self._versions = 0
        self._version_time_ms = -_VERSION_EVERY_MS
        self._model = self._publish()
        self._identities = np.zeros((len(transactions), 2), dtype=np.uint64)
        self._label_offset = 0
        state.open_partition(0)

    def __len__(self) -> int:
        """Number of transactions."""
        return len(self._transactions)

    @property
    def frauds_learned(self) -> int:
        """How many frauds the models have learned."""
        return self._model.frauds_learned

    @property
    def evidence(self) -> dict[str, Evidence]:
        """How good each contender of the models was on the latest labels, before it learned them."""
        return self._trainer.evidence

    @property
    def verdicts(self) -> list[Verdict]:
        """Changes of champions, oldest first."""
        return self._trainer.contest.verdicts

    def watch(self, observer: DriftObserver) -> DriftMonitor:
        """Let somebody be told of drift; to be called before `run`."""
        monitor = DriftMonitor(self._trainer.binner, observer)
        self._trainer.monitor = monitor
        return monitor

    def run(self, progress: Callable[[int], None]) -> Iterator[pa.Table]:
        """Assess all transactions; yields the decisions of one slab after the other."""
        total = len(self._transactions)
        for start in range(0, total, SLAB_ROWS):
            stop = min(start + SLAB_ROWS, total)
            slab = self._transactions.slab(start, stop)
            batch = build_batch(
                slab.columns, key=self._state.config.fingerprint_key, offset=np.arange(start, stop, dtype=np.int64)
            )
            self._identities[start:stop] = batch.identity
            yield _decisions(slab.transaction_id, batch, self._assess_slab(batch))
            progress(stop)

    def _assess_slab(self, slab: TransactionBatch) -> _Answers:
        """Assess a slab in small batches, taking in before each what had become known by its first moment."""
        answers = _Answers(len(slab))
        for start in range(0, len(slab), _BATCH_ROWS):
            batch = slab[start : start + _BATCH_ROWS]
            self._learn_until(int(batch.event_time_ms[0]))
            assessments = assess_batch(self._state, batch, self._model, self._policy)
            self._trainer.learn(assessments.unlabelled)
            answers.keep(start, assessments, self._model.name)
            self._labels.alerted(batch.offset[assessments.action != Action.ALLOW])
        return answers

    def _learn_until(self, time_ms: int) -> None:
        """Apply and learn every label that was known at a moment, then what has become genuine by its age.

        Where a file has no labels at all nobody could have complained, and silence says nothing.
        """
        known = self._labels.until(time_ms)
        if len(known):
            result = apply_labels(
                self._state,
                LabelBatch(
                    partition=0,
                    offset=np.arange(self._label_offset, self._label_offset + len(known), dtype=np.int64),
                    identity=self._identities[known.row],
                    label=known.label,
                    label_time_ms=known.label_time_ms,
                    source=np.full(len(known), int(LabelSource.IMPORT)),
                    labeller=np.zeros(len(known), dtype=np.int64),
                ),
            )
            self._trainer.learn(result.examples)
            self._label_offset += len(known)
        if len(self._labels):
            while len(silent := mature(self._state, 0, time_ms).examples):
                self._trainer.learn(silent, given=False)
        if time_ms - self._version_time_ms >= _VERSION_EVERY_MS:
            self._version_time_ms = time_ms
            self._model = self._publish()

    def _publish(self) -> ModelVersion:
        """A version of what has been learned so far, for scoring."""
        self._versions += 1
        return self._trainer.scorer(f"m-{self._versions:06d}")


def _decisions(transaction_id: pa.StringArray, batch: TransactionBatch, answers: _Answers) -> pa.Table:
    """Decisions as rows of the output file."""
    return pa.Table.from_arrays(
        [
            transaction_id,
            pa.array(batch.event_time_ms),
            pa.array(answers.score),
            pa.array(answers.anomaly),
            _ACTION_NAMES.take(pa.array(answers.action)),
            answers.reasons(),
            pa.array(answers.flags),
            pa.array(answers.expected_loss_minor),
            pa.array(answers.models, pa.string()).take(pa.array(answers.model)),
        ],
        schema=OUTPUT_SCHEMA,
    )
