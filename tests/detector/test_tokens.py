"""Fingerprints: the reference's vectors, and what a column of tokens promises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.tokens import fingerprint, fingerprint_many, key_words

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


def test_another_key_gives_other_fingerprints() -> None:
    """What one installation stores says nothing to somebody with another key."""
    assert fingerprint("card", KEY) != fingerprint("card", bytes(16))


def test_a_key_of_another_length_is_refused() -> None:
    """A key that is not 16 bytes long is named as such."""
    with pytest.raises(ValueError, match="16 bytes"):
        key_words(b"short")
