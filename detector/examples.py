"""Examples: what the models learn from, a transaction's bins as they were scored joined with what became known."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.errors import ModelError

# 1 held features as float32, 2 no propensities.
_FORMAT = 3
SOURCE_KINDS = 3


@dataclass(frozen=True, slots=True)
class Examples:
    """Rows to learn from, in the order to learn them.

    Attributes:
        bins: uint8 (n, F), of the catalogue's grids.
        label: int64, codes of `vocabulary.Label`; -1 rows are for models that need no label.
        weight: float64, for how many payments the row stands in the loss, as far as it was drawn from among them.
        label_time_ms: int64.
        sources: int64 (n, 3), words of fingerprints of who labelled it, its merchant and its card; 0 where not known.
        propensity: float64, above 0, the probability with which such a label becomes known at all. It counts inversely.
    """

    bins: NDArray[np.uint8]
    label: NDArray[np.int64]
    weight: NDArray[np.float64]
    label_time_ms: NDArray[np.int64]
    sources: NDArray[np.int64]
    propensity: NDArray[np.float64]

    @classmethod
    def of_nobody(
        cls,
        bins: NDArray[np.uint8],
        label: NDArray[np.int64],
        weight: NDArray[np.float64],
        label_time_ms: NDArray[np.int64],
    ) -> Examples:
        """Examples whose sources are not known, and whose labels were sure to come."""
        sources = np.zeros((len(label), SOURCE_KINDS), dtype=np.int64)
        return cls(bins, label, weight, label_time_ms, sources, np.ones(len(label)))

    def __len__(self) -> int:
        """Number of rows."""
        return int(self.label.shape[0])

    def labelled(self) -> Examples:
        """Those of them that have a label."""
        rows = self.label >= 0
        return Examples(*(getattr(self, column)[rows] for column in self.__slots__))

    def to_bytes(self) -> bytes:
        """Encode as an npz archive without pickles."""
        buffer = io.BytesIO()
        np.savez(
            buffer,
            format=np.array(_FORMAT),
            bins=self.bins,
            label=self.label.astype(np.int8),
            weight=self.weight,
            label_time_ms=self.label_time_ms,
            sources=self.sources,
            propensity=self.propensity,
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Examples:
        """Decode what `to_bytes` made.

        Raises:
            ModelError: the bytes are no such archive, or its columns do not fit together.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                if int(archive["format"]) != _FORMAT:
                    message = f"examples of format {int(archive['format'])}; this cardwatch reads {_FORMAT}"
                    raise ModelError(message)
                examples = cls(
                    np.ascontiguousarray(archive["bins"]),
                    archive["label"].astype(np.int64),
                    archive["weight"].astype(np.float64),
                    archive["label_time_ms"].astype(np.int64),
                    archive["sources"].astype(np.int64),
                    archive["propensity"].astype(np.float64),
                )
        except (ValueError, TypeError, KeyError, OSError, EOFError) as error:
            message = "not an archive of examples"
            raise ModelError(message) from error
        rows = {len(getattr(examples, column)) for column in cls.__slots__}
        if (
            len(rows) != 1
            or examples.sources.shape[1:] != (SOURCE_KINDS,)
            or examples.bins.ndim != 2
            or examples.bins.dtype != np.uint8
        ):
            message = "columns of examples differ in length, or bins are not bytes"
            raise ModelError(message)
        return examples

    @classmethod
    def join(cls, parts: list[Examples], feature_count: int) -> Examples:
        """Put several runs of examples behind one another."""
        if not parts:
            empty = np.zeros(0)
            return cls.of_nobody(
                np.zeros((0, feature_count), np.uint8), empty.astype(np.int64), empty, empty.astype(np.int64)
            )
        return cls(
            np.concatenate([part.bins for part in parts]),
            np.concatenate([part.label for part in parts]),
            np.concatenate([part.weight for part in parts]),
            np.concatenate([part.label_time_ms for part in parts]),
            np.concatenate([part.sources for part in parts]),
            np.concatenate([part.propensity for part in parts]),
        )
