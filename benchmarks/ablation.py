"""What each family of features is worth: the models taught again without it.

A family is one entity's features of one sort: those that labels change, and those that they do not. Which is which is
not written down anywhere; it is seen by replaying the same payments without labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.recorded import Features
from detector.catalogue import CATALOGUE, Aggregate, Feature

_COMPARED_ROWS = 200_000


@dataclass(frozen=True, slots=True)
class Family:
    """Features that are left out together.

    Attributes:
        name: for people.
        columns: bool by feature.
    """

    name: str
    columns: NDArray[np.bool_]

    @property
    def size(self) -> int:
        """How many features it has."""
        return int(self.columns.sum())


def families(with_labels: Features, without_labels: Features) -> list[Family]:
    """The families of the catalogue that this file has any values of, in the catalogue's order.

    Args:
        with_labels: features as scored where labels were learned.
        without_labels: of the same payments where none came.
    """
    # The last rows are those by which most labels have come.
    last = slice(-_COMPARED_ROWS, None)
    taught, untaught = with_labels[last], without_labels[last]
    by_labels = ((taught != untaught) & ~(np.isnan(taught) & np.isnan(untaught))).any(axis=0)
    given = ~np.isnan(taught).all(axis=0)
    names = [_name(feature, learned=bool(learned)) for feature, learned in zip(CATALOGUE, by_labels, strict=True)]
    return [
        Family(name, np.array([each == name for each in names]) & given)
        for name in dict.fromkeys(names)
        if (np.array([each == name for each in names]) & given).any()
    ]


def _name(feature: Feature, *, learned: bool) -> str:
    """What a feature's family is called."""
    if feature.aggregate == Aggregate.ANOMALY:
        return "the trees' score"
    entity = feature.entity.name.lower().replace("_", " at ")
    return f"{entity}: what labels say" if learned else f"{entity}: behaviour"
