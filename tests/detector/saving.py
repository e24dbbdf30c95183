"""State as a checkpoint would hold it, without a store: taken, and put together again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from detector.saved import StateChanges, StateImage

Arrays = dict[str, NDArray[np.generic]]
EVERYTHING = 1 << 40


def copied(arrays: Mapping[str, NDArray[np.generic]]) -> Arrays:
    return {name: array.copy() for name, array in arrays.items()}


def taken(changes: StateChanges) -> Arrays:
    """What has changed, as it would be written."""
    assert changes.drain(EVERYTHING)
    part = changes.take()
    arrays = copied(part.arrays())
    changes.release(part)
    return arrays


def image_of(layout: str, base: Mapping[str, NDArray[np.generic]], parts: Iterable[Arrays]) -> StateImage:
    """What is read back."""
    image = StateImage(layout)
    beside: Arrays = {}
    for name, array in base.items():
        room = image.room_for(name, array.shape)
        if room is None:
            beside[name] = array
        else:
            room[:] = array
    image.apply(beside)
    for part in parts:
        image.apply(part)
    return image


def whole(changes: StateChanges) -> StateImage:
    """Everything at this moment, read back."""
    return image_of(changes.layout, copied(dict(changes.base_arrays())), [taken(changes)])
