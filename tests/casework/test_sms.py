"""Parts of a text message, as networks count them."""

from __future__ import annotations

import pytest

from casework.sms import is_gsm7, sms_segments


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        # 153 is odd: the last sign of two septets does not fit into the first part.
        ("€" * 153, 3),
        ("卡" * 70, 1),
        ("卡" * 71, 2),
        ("卡" * 134, 2),
        ("卡" * 135, 3),
        ("a" * 70 + "卡", 2),
        # Beyond the basic plane a sign takes two units, and is not cut in two.
        ("😀" * 35, 1),
        ("😀" * 67, 3),
    ],
)
def test_segments(text: str, segments: int) -> None:
    """160 septets alone and 153 joined; 70 units of UCS-2 alone and 67 joined."""
    assert sms_segments(text) == segments


def test_filipino_fits_the_seven_bit_alphabet() -> None:
    """Its one letter that English lacks is there; a typographic quote is not."""
    assert is_gsm7("Niño, ginoong Ñ")
    assert not is_gsm7("It’s")
