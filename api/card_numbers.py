"""Recognising full card numbers (PANs), so that none is stored, answered or logged.

A token of 12 to 19 digits that passes the Luhn check is taken for a card number, grouped by blanks or hyphens or not,
unless the issuer's own token pattern says otherwise: the same as in `streams/card_numbers.py`, which this floor may not
import. In free text, where people write many other numbers, 13 digits are the least.
"""

from __future__ import annotations

import re

# Digits of any script.
_TOKEN = re.compile(r"\d(?:[ \-]?\d){11,18}")
_IN_TEXT = re.compile(r"\d(?:[ \u00a0\u2009.\-_/]?\d){12,}")
_NOT_DIGIT = re.compile(r"\D")
# ISO/IEC 7812 allows up to 19 digits; nearly every card has 16.
_SHORTEST_IN_TEXT, _LONGEST, _USUAL = 13, 19, 16


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
    return _TOKEN.fullmatch(token) is not None and passes_luhn(_NOT_DIGIT.sub("", token))


def contains_card_number(text: str) -> bool:
    """Whether a free text contains a card number, digits grouped in any way people group them.

    Neighbouring groups are judged together, so a number is found beside an expiry date or a code. Parts of a group are
    not judged, for that would refuse most reference numbers; only in a group too long for a card every 16 digits are.
    """
    return any(_holds_card_number(_NOT_DIGIT.split(match.group())) for match in _IN_TEXT.finditer(text))


def _holds_card_number(groups: list[str]) -> bool:
    """Whether neighbouring groups of digits make a card number."""
    for first in range(len(groups)):
        digits = ""
        for group in groups[first : first + _LONGEST]:
            digits += group
            if len(digits) > _LONGEST:
                break
            if len(digits) >= _SHORTEST_IN_TEXT and passes_luhn(digits):
                return True
    long_groups = (group for group in groups if len(group) > _LONGEST)
    return any(
        passes_luhn(group[start : start + _USUAL]) for group in long_groups for start in range(len(group) - _USUAL + 1)
    )
