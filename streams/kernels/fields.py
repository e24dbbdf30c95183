"""The fields of `payments.transactions.v1` by number, and the words that the scanner recognises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.transactions import PLACES
from detector.vocabulary import Channel, EntryMode, Kind, StepUp, WireEnum

# Fields by the way in which they are read, in the order of their numbers.
TEXTS = (
    "transaction_id", "card_token", "refers_to", "terminal_id", "merchant_id", "merchant_category", "device_id",
    "country", "ip_country", "response_code", "currency",
)  # fmt: skip
# What is read but kept by nobody.
_UNUSED = ("customer_id",)
NUMBERS = ("kind", "channel", "entry_mode", "step_up", "mcc", "event_time_ms", "amount_minor")
FIELDS = (*TEXTS, *_UNUSED, *NUMBERS, *PLACES)
REQUIRED = ("transaction_id", "card_token", "event_time_ms", "amount_minor", "currency")
REQUIRED_BITS = sum(1 << FIELDS.index(name) for name in REQUIRED)
# A text of up to 24 bytes in three words.
_TEXT_WORDS = 3


class Vocabulary(NamedTuple):
    """Words to recognise, each with the quote behind it.

    Attributes:
        words: uint64 (n, 3).
        masks: uint64 (n, 3), which bits of `words` count.
        lengths: int64, bytes, the quote included.
        codes: int64, what a word stands for.
    """

    words: NDArray[np.uint64]
    masks: NDArray[np.uint64]
    lengths: NDArray[np.int64]
    codes: NDArray[np.int64]


def _vocabulary(words: Sequence[str], codes: Sequence[int]) -> Vocabulary:
    """Words with their codes as the kernel compares them."""
    texts = [word.encode() + b'"' for word in words]
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    return Vocabulary(_as_words(texts), _as_words([b"\xff" * len(text) for text in texts]), lengths, np.array(codes))


def _as_words(texts: Sequence[bytes]) -> NDArray[np.uint64]:
    """Texts of up to 24 bytes as three words each."""
    joined = b"".join(text.ljust(8 * _TEXT_WORDS, b"\0") for text in texts)
    return np.frombuffer(joined, dtype="<u8").astype(np.uint64).reshape(-1, _TEXT_WORDS)


def _words_of(enumeration: type[WireEnum]) -> Vocabulary:
    """The words of an enumeration; code 0 is one for kinds alone, elsewhere it is "not given", which is null or ""."""
    words = {word: code for word, code in enumeration.by_wire().items() if code or enumeration is Kind}
    return _vocabulary(list(words), list(words.values()))


KEYS = _vocabulary(FIELDS, range(len(FIELDS)))
Words = tuple[Vocabulary, Vocabulary, Vocabulary, Vocabulary]
VALUES: Words = (_words_of(Kind), _words_of(Channel), _words_of(EntryMode), _words_of(StepUp))
