"""Fields: one-hot groups that a linear model adds up, each a feature or a cross of two or three, coarsened or not.

A field is written as its features: `"amount"`, `"amount x hour"`, `"amount>1 x ratio>2 x hour"`. A feature with `>s` is
coarsened: its bin number is shifted right by s bits, so that 2^s neighbouring bins are one; the bin of missing values
stays its own. `"*"` stands for every feature by itself.

A slot is a bin of a field, its place in the one long list of all fields' bins: what river would call the name of a
one-hot feature. A cross of more than 2^17 bins is hashed into so many slots; then two bins of it may share one, and
with as few as are ever used that is rare.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.errors import ConfigurationError
from detector.jit import constants, kernel
from detector.models.bins import Binner

HASHED_SLOTS = 1 << 17
# Two float64 a slot for learning, and one for each version in use. Sixty fields, all of them hashed, have as many.
MAXIMUM_SLOTS = 8_000_000
MAXIMUM_FEATURES = 3
EVERY_FEATURE = "*"
_CROSSED = " x "
_COARSENED = ">"
_LARGEST_SHIFT = 7

# Rows whose slots are found together: a field's bins of so many rows are worked on as vectors, and their weights are
# fetched side by side. 48 ns a row for 60 fields instead of 150 a row by row.
BLOCK = 32
# A feature of a field as the kernel reads it: its column, its last bin that is not "missing", bits to leave out, and
# what its bins count; 0 for one that is not there.
_COLUMN, _TOP, _SHIFT, _STRIDE = constants(4)
# The top 17 bits of 32 bits of the product with an odd number near 2^32 / golden ratio: Knuth 3, 6.4.
_MULTIPLIER = 2_654_435_761
_HASH_SHIFT = 15
_HASH_MASK = HASHED_SLOTS - 1


class Layout(NamedTuple):
    """Fields as their kernels read them.

    Attributes:
        parts: int32[K, 3, 4], the features of each field: (column, top, shift, stride), stride 0 behind the last.
        starts: int32[K + 1], where each field's slots start.
        hashed: int32[K], 1 where the bins of a field are hashed.
        alone: int32[K], the column of the feature that a field is all by itself, bin by bin; -1 of other fields.
        missing: int32[F], the bin of each feature that means "missing".
    """

    parts: NDArray[np.int32]
    starts: NDArray[np.int32]
    hashed: NDArray[np.int32]
    alone: NDArray[np.int32]
    missing: NDArray[np.int32]


@kernel
def _add_part(part: NDArray[np.int32], columns: NDArray[np.uint8], out: NDArray[np.int32]) -> None:
    """Add what one feature's bins count in a field, for each row of a block."""
    top, shift, stride = part[_TOP], part[_SHIFT], part[_STRIDE]
    own = columns[part[_COLUMN]]
    for row in range(BLOCK):
        bin_ = np.int32(own[row])
        out[row] += ((min(bin_, top) >> shift) + np.int32(bin_ > top)) * stride


@kernel
def slots_of_block(
    bins: NDArray[np.uint8],
    start: int,
    rows: int,
    layout: Layout,
    columns: NDArray[np.uint8],
    slots: NDArray[np.int32],
) -> None:
    """Slots of the `rows` rows from `start` on, at most a block: `slots[field, row]`; `columns` is room for bins.

    Behind the last row stands what was there before, or its slots: places that exist.
    """
    for row in range(rows):
        own_bins = bins[start + row]
        for column in range(bins.shape[1]):
            columns[column, row] = own_bins[column]
    for field in range(layout.parts.shape[0]):
        own = slots[field]
        hashed = layout.hashed[field] != 0
        first = layout.starts[field]
        for row in range(BLOCK):
            own[row] = 0 if hashed else first
        for part in range(MAXIMUM_FEATURES):
            if layout.parts[field, part, _STRIDE] != 0:
                _add_part(layout.parts[field, part], columns, own)
        if hashed:
            for row in range(BLOCK):
                own[row] = (((np.int64(own[row]) * _MULTIPLIER) >> _HASH_SHIFT) & _HASH_MASK) + first


@kernel
def _slot_rows(
    bins: NDArray[np.uint8],
    layout: Layout,
    columns: NDArray[np.uint8],
    slots: NDArray[np.int32],
    out: NDArray[np.int32],
) -> None:
    """Slots of all rows, a row each."""
    for start in range(0, bins.shape[0], BLOCK):
        rows = min(BLOCK, bins.shape[0] - start)
        slots_of_block(bins, start, rows, layout, columns, slots)
        for row in range(rows):
            for field in range(slots.shape[0]):
                out[start + row, field] = slots[field, row]


def parse_field(text: str) -> tuple[tuple[str, int], ...]:
    """The features of a field and their shifts.

    Args:
        text: as "amount", "amount x hour" or "amount>1 x ratio>2 x hour".

    Raises:
        ConfigurationError: no such text.
    """
    parts: list[tuple[str, int]] = []
    for part in text.split(_CROSSED):
        name, coarsened, shift = part.partition(_COARSENED)
        is_shift = shift.isdecimal() and 1 <= int(shift) <= _LARGEST_SHIFT
        if not name or len(name.split()) != 1 or name != name.strip() or (coarsened and not is_shift):
            break
        parts.append((name, int(shift or 0)))
    else:
        if len(parts) <= MAXIMUM_FEATURES and len({name for name, _ in parts}) == len(parts):
            return tuple(parts)
    message = (
        f'field "{text}": must be one to {MAXIMUM_FEATURES} different features, as "amount", "amount x hour" or '
        f'"amount>1 x hour>2"; >1 to >{_LARGEST_SHIFT} makes one bin of 2, 4, 8, ...'
    )
    raise ConfigurationError(message)


class Fields:
    """Fields of a linear model over binned features.

    Attributes:
        binner: of the features.
        texts: the fields, every feature that "*" stands for included.
        layout: for kernels.
    """

    def __init__(self, binner: Binner, texts: Sequence[str] = (EVERY_FEATURE,)) -> None:
        """Lay out the slots.

        Args:
            binner: of the features.
            texts: the fields; see the module.

        Raises:
            ConfigurationError: a field cannot be read, names no feature or comes twice, or there are too many slots.
        """
        self.binner = binner
        found: list[str] = []
        for text in texts:
            found += binner.names if text == EVERY_FEATURE else [text]
        self.texts = tuple(found)
        if not self.texts or len(set(self.texts)) != len(self.texts):
            message = "fields: must be one or more, each once"
            raise ConfigurationError(message)
        parts = np.zeros((len(found), MAXIMUM_FEATURES, 4), dtype=np.int32)
        sizes = [self._lay_out(text, parts[field]) for field, text in enumerate(self.texts)]
        slots = [min(size, HASHED_SLOTS) for size in sizes]
        if sum(slots) > MAXIMUM_SLOTS:
            message = f"fields: must give at most {MAXIMUM_SLOTS} slots together; they give {sum(slots)}"
            raise ConfigurationError(message)
        self.layout = Layout(
            parts,
            np.cumsum([0, *slots]).astype(np.int32),
            np.array([size > HASHED_SLOTS for size in sizes], dtype=np.int32),
            np.array([binner.columns.get(text, -1) for text in self.texts], dtype=np.int32),
            binner.missing_bins.astype(np.int32),
        )
        for column in self.layout:
            column.setflags(write=False)

    def _lay_out(self, text: str, parts: NDArray[np.int32]) -> int:
        """Lay out one field; how many bins it has."""
        size = 1
        named = parse_field(text)
        for place in range(len(named) - 1, -1, -1):
            name, shift = named[place]
            column = self.binner.columns.get(name)
            if column is None:
                message = f'field "{text}": there is no feature {name}'
                raise ConfigurationError(message)
            top = int(self.binner.missing_bins[column]) - 1
            parts[place] = column, top, shift, size
            size *= (top >> shift) + 2
        if size >= 1 << 31:
            message = f'field "{text}": has {size} bins; coarsen its features'
            raise ConfigurationError(message)
        return size

    def __eq__(self, other: object) -> bool:
        """Whether both make the same slots of the same features."""
        return isinstance(other, Fields) and self.texts == other.texts and self.binner == other.binner

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Sizes."""
        return f"Fields({len(self)} fields, {self.slot_count} slots)"

    def __len__(self) -> int:
        """How many fields."""
        return len(self.texts)

    @property
    def slot_count(self) -> int:
        """Slots of all fields together."""
        return int(self.layout.starts[-1])

    def columns_of(self, field: int) -> list[int]:
        """The columns of the features of a field."""
        parts = self.layout.parts[field]
        return [int(column) for column in parts[parts[:, _STRIDE] != 0, _COLUMN]]

    def room(self) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """Room for the bins and slots of a block, for `slots_of_block`."""
        columns = np.zeros((self.binner.feature_count, BLOCK), dtype=np.uint8)
        return columns, np.zeros((len(self), BLOCK), dtype=np.int32)

    def slots(self, bins: NDArray[Any]) -> NDArray[np.int32]:
        """Slots of all fields.

        Args:
            bins: uint8 (n, F).

        Returns:
            int32 (n, K).

        Raises:
            ValueError: no bins of these features.
        """
        matrix = self.binner.matrix(bins)
        out = np.empty((len(matrix), len(self)), dtype=np.int32)
        columns, slots = self.room()
        _slot_rows(matrix, self.layout, columns, slots, out)
        return out
