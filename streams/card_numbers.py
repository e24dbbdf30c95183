"""Card numbers in the clear: telling them from tokens, and taking them out of whatever is written again.

A token of 12 to 19 digits that passes Luhn's check is taken for a card number, grouped by blanks or hyphens or not.
What goes to the dead-letter topic is searched as text after its JSON escapes are undone, so that neither a number
instead of a string, nor escaped digits, nor digits of another script hide one. Rather too much is taken out than too
little: by chance one in ten of all long numbers passes Luhn's check. Spared are times in milliseconds, 13 plain digits
of which the first is 1, 2 or 3: every record has one, and no network gives out such numbers (Visa's old ones, of 13
digits, begin with 4). Otherwise a quarter of all dead letters could not be sent again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from streams.records import Headers

REDACTED = "[card number removed]"
MAXIMUM_VALUE_BYTES = 64 * 1024

_SHORTEST, _LONGEST = 12, 19
# Digits of any script, singly separated by what people put between groups.
_DIGIT_RUN = re.compile(r"\d(?:[ \u00a0\u2009.\-_/]?\d){11,}")
_TIME_MS = re.compile(r"[1-3][0-9]{12}")
_TOKEN = re.compile(r"\d(?:[ \-]?\d){11,18}")
_ESCAPED_DIGIT = re.compile(rb"\\u00(3[0-9])", re.IGNORECASE)
_NOT_DIGIT = re.compile(r"\D")


def passes_luhn(digits: str) -> bool:
    """Luhn's check (ISO/IEC 7812-1, annex B) of a string of digits."""
    total = 0
    for position, character in enumerate(reversed(digits)):
        value = int(character)
        if position % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


class CardNumberCheck:
    """Knows card numbers from an issuer's own numeric tokens."""

    def __init__(self, issuer_token_pattern: str | None = None) -> None:
        """Exempt tokens that match `issuer_token_pattern` in full."""
        self._issuer = None if issuer_token_pattern is None else re.compile(issuer_token_pattern)

    def is_card_number(self, token: str) -> bool:
        """Whether a card token must be refused."""
        if _TOKEN.fullmatch(token) is None or (self._issuer is not None and self._issuer.fullmatch(token)):
            return False
        digits = _NOT_DIGIT.sub("", token)
        return _SHORTEST <= len(digits) <= _LONGEST and passes_luhn(digits)

    def suspicious_rows(self, tokens: Sequence[str]) -> list[int]:
        """Rows of a column of tokens that hold card numbers; nearly free where no token is numeric."""
        if not any(map(str.isdigit, {token[:1] for token in tokens})):
            return []
        return [row for row, token in enumerate(tokens) if self.is_card_number(token)]


def _redact_run(match: re.Match[str]) -> str:
    """Replace a run of digits that is, or holds, a card number."""
    if _TIME_MS.fullmatch(match.group()):
        return match.group()
    digits = _NOT_DIGIT.sub("", match.group())
    if len(digits) <= _LONGEST:
        found = any(
            passes_luhn(digits[start : start + length])
            for length in range(_SHORTEST, len(digits) + 1)
            for start in range(len(digits) - length + 1)
        )
        return REDACTED if found else match.group()
    return REDACTED  # in so many digits some part always passes


def redact_text(text: str) -> str:
    """Take card numbers out of a text."""
    return _DIGIT_RUN.sub(_redact_run, text)


def redact_bytes(data: bytes | None) -> bytes | None:
    """Take card numbers out of anything that was a record's key, value or header.

    Valid JSON stays valid JSON, although a number may become a string; only `MAXIMUM_VALUE_BYTES` are kept.
    """
    if data is None:
        return None
    shown = _ESCAPED_DIGIT.sub(lambda match: bytes([int(match.group(1), 16)]), data)
    text = shown.decode("utf-8", errors="replace")
    redacted = redact_text(text)
    if redacted != text:
        redacted = _as_json(text, redacted)
    return redacted.encode()[:MAXIMUM_VALUE_BYTES]


def _as_json(text: str, redacted: str) -> str:
    """Redact inside the JSON value where `text` is one, so that it can still be read by a program."""
    try:
        value = msgspec.json.decode(text)
        # Once more as text: a number may be spread over what only became visible now.
        return redact_text(msgspec.json.encode(_redact_value(value)).decode())
    except (msgspec.DecodeError, RecursionError, UnicodeError, ValueError):
        return redacted


def _redact_value(value: object) -> object:
    """Redact strings, numbers and names inside a decoded JSON value."""
    if isinstance(value, dict):
        return {redact_text(str(name)): _redact_value(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_redact_value(item) for item in value]
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        text = f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)
        redacted = redact_text(text)
        return value if redacted == text else redacted
    return value


def redact_headers(headers: Headers) -> list[tuple[str, bytes | None]]:
    """Take card numbers out of headers' names and values."""
    return [(redact_text(name), redact_bytes(value)) for name, value in headers]
