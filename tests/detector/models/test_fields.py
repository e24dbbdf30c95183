"""Fields and slots: what a linear model adds up."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from detector.errors import ConfigurationError
from detector.models.bins import Binner
from detector.models.fields import HASHED_SLOTS, Fields, parse_field
from tests.detector.models.helpers import FIELDS, GRIDS, NAMES, binner, fields, random_bins

_SIZES = {name: len(grid) for name, grid in GRIDS}


def _naive_code(name: str, shift: int, bin_: int) -> tuple[int, int]:
    """The coarsened bin, and how many there are."""
    top = _SIZES[name]
    codes = (top >> shift) + 2
    return (codes - 1 if bin_ == top + 1 else bin_ >> shift), codes


def test_slots_equal_naive_twin() -> None:
    """Every field lights exactly one slot; a cross lights the combination of its features' coarsened bins."""
    bins = random_bins(3, 401)
    made = fields()
    texts = [*NAMES, *FIELDS[1:]]
    assert made.texts == tuple(texts)
    for row, slots in zip(bins, made.slots(bins), strict=True):
        expected, start = [], 0
        for text in texts:
            place, size = 0, 1
            for name, shift in parse_field(text):
                code, codes = _naive_code(name, shift, int(row[NAMES.index(name)]))
                place, size = place * codes + code, size * codes
            expected.append(start + place)
            start += size
        assert slots.tolist() == expected
        assert made.slot_count == start


def test_large_fields_are_hashed() -> None:
    """A cross of more than 2^17 bins has 2^17 slots; few bins of it share one, and the fields behind start after it."""
    grid = tuple(float(edge) for edge in range(1, 101))
    made = Fields(Binner([(name, grid) for name in "abc"]), ["a x b x c", "a"])
    assert made.slot_count == HASHED_SLOTS + 102
    rng = np.random.default_rng(1)
    bins = np.unique(rng.integers(0, 102, (5_000, 3), dtype=np.uint8), axis=0)
    slots = made.slots(bins)
    assert ((slots[:, 0] >= 0) & (slots[:, 0] < HASHED_SLOTS)).all()
    assert len(np.unique(slots[:, 0])) > 0.97 * len(bins)
    assert (slots[:, 1] == HASHED_SLOTS + bins[:, 0].astype(np.int64)).all()


def test_fields_compare_by_content() -> None:
    """Equal fields of equal grids are the same; another coarsening is another."""
    assert fields() == copy.deepcopy(fields())
    assert fields() != Fields(binner(), ("*",))
    assert Fields(binner(), ("rate>1",)) != Fields(binner(), ("rate",))
    assert fields() != "fields"


def test_columns_of_a_field() -> None:
    """A field knows its features, for explanations."""
    made = Fields(binner(), ("is_new x amount>1 x rate",))
    assert made.columns_of(0) == [2, 0, 3]


@pytest.mark.parametrize(
    "text",
    ["", " ", "amount x", "amount x amount", "amount>0", "amount>8", "amount>", "amount>x", "a x b x c x d", "a  x b"],
)
def test_text_that_is_no_field_is_named(text: str) -> None:
    """A field that cannot be read is shown with how fields are written."""
    with pytest.raises(ConfigurationError, match=r"must be one to 3 different features"):
        parse_field(text)


@pytest.mark.parametrize(
    ("texts", "named"),
    [
        ([], "fields"),
        (["amount", "amount"], "each once"),
        (["*", "amount"], "each once"),
        (["amount x colour"], "no feature colour"),
    ],
)
def test_wrong_layout_is_named(texts: list[str], named: str) -> None:
    """Fields that cannot be laid out are refused by name, before any model is made."""
    with pytest.raises(ConfigurationError, match=named):
        Fields(binner(), texts)


def test_too_many_slots_are_refused() -> None:
    """Memory is bounded whatever the configuration asks for."""
    grid = tuple(float(edge) for edge in range(1, 255))
    made = Binner([(f"f{number}", grid) for number in range(14)])
    crosses = [f"f{a} x f{b} x f0" for a in range(1, 14) for b in range(a + 1, 14)]
    with pytest.raises(ConfigurationError, match="at most 8000000 slots"):
        Fields(made, crosses)
