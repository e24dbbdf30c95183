"""Fingerprints: the reference's vectors, and what a column of tokens promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.texts import TextColumn
from detector.tokens import fingerprint, fingerprint_identities, fingerprint_many, key_words, matching
from tests.naive_wire import siphash_128

KEY = bytes(range(16))


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (1, "da87c1d86b99af44347659119b22fc45"),
        (2, "8177228da4a45dc7fca38bdef60affe4"),
        (15, "5493e99933b0a8117e08ec0f97cfc3d9"),
    ],
)
def test_fingerprints_are_siphash_128_of_the_reference(length: int, expected: str) -> None:
    """Equal to the vectors published with the reference code: bytes 0, 1, 2, ... under the key 0, 1, 2, ..., 15."""
    text = bytes(range(length)).decode()
    assert fingerprint_many([text], KEY)[0].tobytes().hex() == expected


@given(st.lists(st.one_of(st.none(), st.text(max_size=70)), max_size=20))
def test_a_column_is_its_tokens_one_by_one(tokens: list[str | None]) -> None:
    """A token's fingerprint does not depend on its neighbours; missing ones are (0, 0)."""
    column = fingerprint_many(tokens, KEY)
    for token, row in zip(tokens, column, strict=True):
        expected = fingerprint(token, KEY) if token else (0, 0)
        assert (int(row[0]), int(row[1])) == expected


@given(st.binary(max_size=40), st.binary(min_size=16, max_size=16))
def test_a_fingerprint_equals_its_naive_twin(data: bytes, key: bytes) -> None:
    """Every length, also of what stands at the very end of its buffer, where no whole word can be read."""
    for behind in (b"", bytes(8)):
        buffer = np.frombuffer(b"x" + data + behind, dtype=np.uint8)
        column = TextColumn(buffer, np.array([1]), np.array([1 + len(data)]))
        found = fingerprint_many(column, key)[0]
        assert (int(found[0]), int(found[1])) == (siphash_128(data, key) if data else (0, 0))


@given(st.lists(st.tuples(st.text(min_size=1, max_size=20), st.none() | st.text(max_size=20)), max_size=12))
def test_an_identity_is_its_two_halves_joined(pairs: list[tuple[str, str | None]]) -> None:
    """No text is joined for it, yet it is the fingerprint of the joined text; without a transaction it is missing."""
    cards, transactions = [card for card, _ in pairs], [transaction for _, transaction in pairs]
    found = fingerprint_identities(TextColumn.from_strings(cards), TextColumn.from_strings(transactions), KEY)
    joined = [f"{card}\x1f{transaction}" if transaction else None for card, transaction in pairs]
    assert np.array_equal(found, fingerprint_many(joined, KEY))


@given(st.lists(st.integers(0, 30), max_size=20), st.sets(st.integers(0, 30), max_size=10))
def test_known_fingerprints_are_found(asked: list[int], known: set[int]) -> None:
    """Each is found at its place, whether the first or only the second word tells it from its neighbours."""
    words = np.array([(number // 7, number) for number in asked], dtype=np.uint64).reshape(-1, 2)
    table = np.array([(number // 7, number) for number in sorted(known)], dtype=np.uint64).reshape(-1, 2)
    places = [sorted(known).index(number) if number in known else -1 for number in asked]
    assert matching(words, table).tolist() == places


def test_another_key_gives_other_fingerprints() -> None:
    """What one installation stores says nothing to somebody with another key."""
    assert fingerprint("card", KEY) != fingerprint("card", bytes(16))


def test_a_key_of_another_length_is_refused() -> None:
    """A key that is not 16 bytes long is named as such."""
    with pytest.raises(ValueError, match="16 bytes"):
        key_words(b"short")
