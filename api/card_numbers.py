"""Recognising full card numbers (PANs), so that none is stored, answered or logged.

A token of 12 to 19 digits that passes the Luhn check is taken for a card number unless the issuer's own token pattern
says otherwise. In free text, digits may be grouped with spaces or hyphens.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\d{12,19}", re.ASCII)
_IN_TEXT = re.compile(r"(?<!\d)\d(?:[ \-.]?\d){12,}(?!\d)", re.ASCII)
# ISO/IEC 7812 allows up to 19 digits; nearly every card has 16.
_LONGEST, _USUAL = 19, 16


def passes_luhn(digits: str) -> bool:
    """Whether a string of decimal digits passes the Luhn check (ISO/IEC 7812-1, annex B)."""
    total = 0
    for position, character in enumerate(reversed(digits)):
        value = int(character)
        if position % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def is_card_number(token: str, issuer_pattern: re.Pattern[str] | None = None) -> bool:
    """Whether a token must be refused as a card number.

    Args:
        token: what stands where a card token should.
        issuer_pattern: what the issuer's own (numeric) tokens look like in full; those are never refused.
    """
    if issuer_pattern is not None and issuer_pattern.fullmatch(token):
        return False
    return bool(_TOKEN.fullmatch(token)) and passes_luhn(token)


def contains_card_number(text: str) -> bool:
    """Whether a free text contains a card number, digits grouped with spaces, dots or hyphens included.

    A run of 13 to 19 digits is judged as a whole: looking into every part of it would refuse most reference numbers.
    A longer run is no number anybody needs, so every 16 digits of it are judged.
    """
    for match in _IN_TEXT.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        if len(digits) <= _LONGEST:
            if passes_luhn(digits):
                return True
        elif any(passes_luhn(digits[start : start + _USUAL]) for start in range(len(digits) - _USUAL + 1)):
            return True
    return False
