"""Links for cardholders: signed, for one case and one purpose, until a time; they name nothing of a person or card.

A link is `case.purpose.end.signature`: the case's id, a word, seconds since 1970, and 128 bits of an HMAC-SHA-256 over
the three under a key of its own that follows from the installation's secret. Following one with GET changes nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from enum import StrEnum

from casework.errors import ConfigurationError, LinkError
from casework.verification import MINIMUM_KEY_BYTES

LONGEST_LINK = 128
_SIGNATURE_BYTES = 16
_LONGEST_END = 12


class Purpose(StrEnum):
    """What a link is for: answering about a case's payments, or choosing language and channel."""

    ANSWER = "answer"
    SETTINGS = "settings"


@dataclass(frozen=True, slots=True)
class Link:
    """What a link says. `expires_s` is in seconds since 1970."""

    case_id: str
    purpose: Purpose
    expires_s: int


class Links:
    """Signs links and reads them."""

    def __init__(self, secret: bytes) -> None:
        """Sign under a key that follows from `secret`, the installation's for one-time codes.

        Raises:
            ConfigurationError: it is too short.
        """
        if len(secret) < MINIMUM_KEY_BYTES:
            message = f"the secret for links needs at least {MINIMUM_KEY_BYTES} bytes"
            raise ConfigurationError(message)
        self._key = hmac.digest(secret, b"self-service link", hashlib.sha256)

    def sign(self, link: Link) -> str:
        """The link as a part of an address."""
        said = f"{link.case_id}.{link.purpose}.{link.expires_s}"
        return f"{said}.{self._signature(said)}"

    def read(self, text: str, purpose: Purpose, now_ms: int) -> Link:
        """What a link says that is for this purpose and has not ended.

        Raises:
            LinkError: it is none of ours, is for something else, or has ended.
        """
        said, _, signature = text[: LONGEST_LINK + 1].rpartition(".")
        parts = said.split(".")
        is_ours = hmac.compare_digest(self._signature(said).encode(), signature.encode())
        if not is_ours or len(text) > LONGEST_LINK or len(parts) != 3:
            message = "not a link of ours"
            raise LinkError(message)
        case_id, word, end = parts
        if word != purpose or not end.isascii() or not end.isdecimal() or len(end) > _LONGEST_END:
            message = "a link for something else"
            raise LinkError(message)
        if int(end) * 1000 <= now_ms:
            message = "a link that has ended"
            raise LinkError(message)
        return Link(case_id, purpose, int(end))

    def _signature(self, said: str) -> str:
        digest = hmac.digest(self._key, said.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest[:_SIGNATURE_BYTES]).rstrip(b"=").decode()
