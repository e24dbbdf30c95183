"""Between Arrow's columns and the detector's: texts change hands without becoming objects of Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from detector.texts import TextColumn


def to_text_column(array: pa.StringArray) -> TextColumn:
    """The texts of an array, where Arrow has them; null is missing."""
    count = len(array)
    _, offsets, data = array.buffers()
    if not count or data is None:
        return TextColumn.constant(None, count)
    places = np.frombuffer(offsets, dtype=np.int32)[array.offset : array.offset + count + 1].astype(np.int64)
    starts, ends = places[:-1], places[1:]
    if array.null_count:
        ends = np.where(array.is_valid().to_numpy(zero_copy_only=False), ends, starts)
    return TextColumn(np.frombuffer(data, dtype=np.uint8), starts, ends)


def to_texts(column: Any) -> pa.StringArray:
    """A column of any type as texts, null where missing or empty."""
    texts = pc.cast(column, pa.string())
    return pc.if_else(pc.equal(pc.binary_length(texts), 0), pa.scalar(None, pa.string()), texts)


def translated(texts: pa.StringArray, translate: Callable[[str], str | None]) -> pa.StringArray:
    """Every text translated; each distinct one is looked at once, null stays null."""
    encoded = texts.dictionary_encode()
    words = pa.array([translate(word) for word in encoded.dictionary.to_pylist()], pa.string())
    return words.take(encoded.indices)


def prefixed(prefix: str, texts: pa.StringArray) -> pa.StringArray:
    """Every text behind a prefix; null stays null."""
    return pc.binary_join_element_wise(pa.scalar(prefix), texts, pa.scalar(""))


def to_codes(texts: pa.StringArray, code: Callable[[str], int]) -> NDArray[np.int64]:
    """A number for every text; each distinct one is looked at once, null is 0."""
    encoded = texts.dictionary_encode()
    # The last one is for null.
    codes = np.array([*(code(word) for word in encoded.dictionary.to_pylist()), 0], dtype=np.int64)
    places = pc.fill_null(encoded.indices, len(codes) - 1).to_numpy(zero_copy_only=False)
    return np.asarray(codes[places], dtype=np.int64)
