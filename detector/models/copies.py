"""Weights for scorers, copied no further than they have changed."""

from __future__ import annotations

import weakref

import numpy as np
from numpy.typing import NDArray

from detector.jit import kernel
from detector.models.fields import Layout
from detector.models.logistic import LINE_BITS, Learned
from detector.models.slopes import fold_slopes

_LINE = 1 << LINE_BITS


@kernel
def _copy_stale(weights: NDArray[np.float64], stale: NDArray[np.uint8], own_bit: int, out: NDArray[np.float64]) -> None:
    """Bring a copy of the weights up to date: lines whose `own_bit` says that they have changed since."""
    words = stale.shape[0] // 8
    eight = stale[: words * 8].view(np.uint64)
    for word in range(words + 1):
        if word < words and eight[word] == 0:
            continue
        for line in range(word * 8, min(word * 8 + 8, stale.shape[0])):
            if stale[line] & own_bit:
                stale[line] &= 255 - own_bit
                for slot in range(line * _LINE, min(line * _LINE + _LINE, weights.shape[0])):
                    out[slot] = weights[slot]


class Copies:
    """Two copies of the weights that versions for scoring take turns in.

    A version's weights never change as long as the version's array is held by anybody: then the next version gets a
    copy of its own. Where versions come one after the other and old ones are let go, only the lines of weights that
    were learned since are copied: microseconds, not the milliseconds of a million slots.
    """

    def __init__(self) -> None:
        """No copy yet."""
        self._rooms: list[NDArray[np.float64] | None] = [None, None]
        self._given: list[weakref.ref[NDArray[np.float64]] | None] = [None, None]
        self._turn = 0

    def take(self, learned: Learned, layout: Layout) -> NDArray[np.float64]:
        """The weights as they are now, slopes in them, read-only."""
        turn = self._turn
        self._turn = 1 - turn
        given, room = self._given[turn], self._rooms[turn]
        own_bit = 1 << turn
        if room is None or (given is not None and given() is not None):
            room = learned.weights.copy()
            self._rooms[turn] = room
            learned.stale[:] &= ~np.uint8(own_bit)
        else:
            _copy_stale(learned.weights, learned.stale, own_bit, room)
        fold_slopes(learned.weights, layout, learned.slopes, room)
        view = room.view()
        view.setflags(write=False)
        self._given[turn] = weakref.ref(view)
        return view
