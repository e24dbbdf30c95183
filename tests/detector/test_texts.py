"""Columns of texts: they read as the list of texts that they were made of, however they are cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.errors import BatchError
from detector.texts import TextColumn, pack_code, pack_letters, unpack_letters

texts = st.lists(st.none() | st.text(max_size=12), max_size=12)


@given(texts, st.slices(12), st.data())
def test_a_column_reads_as_the_list_it_was_made_of(
    given_texts: list[str | None], cut: slice, data: st.DataObject
) -> None:
    """One by one, in order, cut, selected and joined; an empty text is a missing one."""
    expected = [text or None for text in given_texts]
    column = TextColumn.from_strings(given_texts)
    assert len(column) == len(expected)
    assert list(column) == expected
    assert [column[row] for row in range(len(column))] == expected
    assert list(column[cut]) == expected[cut]
    chosen = data.draw(st.lists(st.integers(0, len(expected) - 1), max_size=5)) if expected else []
    assert column.take(np.array(chosen, dtype=np.int64)) == [expected[row] for row in chosen]
    assert TextColumn.joined([column, column[cut]]) == expected + expected[cut]
    assert [column.encoded(row) for row in range(len(column))] == [(text or "").encode() for text in expected]


def test_columns_are_compared_by_what_they_say() -> None:
    """Where the bytes stand makes no difference; what cannot be a column of texts is none."""
    column = TextColumn.from_strings(["a", None])
    assert column == TextColumn.joined([TextColumn.constant("a", 1), TextColumn.constant(None, 1)])
    assert column != ["a", "b"]
    assert column != "a"
    assert "a" not in repr(column).removesuffix(" texts").removeprefix("TextColumn")


def test_a_slice_shares_the_buffer() -> None:
    """Cutting a batch copies no text, and nobody writes into it."""
    column = TextColumn(np.zeros(4, dtype=np.uint8), np.array([0, 2]), np.array([2, 4]))
    assert np.shares_memory(column[1:].buffer, column.buffer)
    assert not column.buffer.flags.writeable


@given(st.lists(st.none() | st.text("ABYZ", min_size=2, max_size=2)))
def test_letters_are_packed_and_unpacked(codes: list[str | None]) -> None:
    """A code is itself again, and what is missing stays missing; one and many are packed alike."""
    packed = pack_letters(codes, 2).tolist()
    assert [unpack_letters(word, 2) for word in packed] == codes
    assert packed == [pack_code(code, 2) if code else 0 for code in codes]


@pytest.mark.parametrize("code", ["de", "D1", "é", "Dé"])
def test_what_is_no_letter_is_refused(code: str) -> None:
    """In a column it is an error; alone it equals no code."""
    with pytest.raises(BatchError, match="capital letters"):
        pack_letters(["DE", code], 2)
    assert pack_code(code, 2) == -1
