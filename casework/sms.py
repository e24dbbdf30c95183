"""Of how many parts a text message is made: GSM 03.38's 7-bit alphabet where it suffices, else UCS-2."""

from __future__ import annotations

_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
# Each of these takes two septets.
_EXTENDED = frozenset("\f^{}\\[~]|€")
# Alone, and with the header that joins parts.
_GSM_ALONE, _GSM_JOINED = 160, 153
_UCS2_ALONE, _UCS2_JOINED = 70, 67


def is_gsm7(text: str) -> bool:
    """Whether the 7-bit alphabet has every character."""
    return all(character in _BASIC or character in _EXTENDED for character in text)


def sms_segments(text: str) -> int:
    """How many parts carry a text; an empty one takes one. No character is cut in two."""
    if is_gsm7(text):
        widths = [2 if character in _EXTENDED else 1 for character in text]
        return _parts(widths, _GSM_ALONE, _GSM_JOINED)
    widths = [len(character.encode("utf-16-be")) // 2 for character in text]
    return _parts(widths, _UCS2_ALONE, _UCS2_JOINED)


def _parts(widths: list[int], alone: int, joined: int) -> int:
    if sum(widths) <= alone:
        return 1
    parts, used = 1, 0
    for width in widths:
        if used + width > joined:
            parts, used = parts + 1, 0
        used += width
    return parts
