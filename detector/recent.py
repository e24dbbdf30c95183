"""What a partition remembers of single payments: decisions already given, and a card's last payments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.buckets import PREVIOUS
from detector.catalogue import MEMORY_MS
from detector.jit import kernel
from detector.layout import (
    AMOUNT_MINOR,
    ANOMALY_BITS,
    ATTRIBUTE_REFUSED_AT_FIRST,
    ATTRIBUTES,
    CARDS,
    CHANNEL_SHIFT,
    COUNTRY_SHIFT,
    CURRENCY_SHIFT,
    DECIDED,
    EVENT_FIRST,
    EVENT_TIME,
    EVENT_WORDS,
    EVENTS,
    EVENTS_PER_CHUNK,
    EXPECTED_LOSS,
    GENERATION,
    KIND_SHIFT,
    MERCHANT_WORD,
    PAYMENT_CARD,
    PAYMENT_CHUNK,
    PAYMENT_GENERATION,
    PAYMENT_SLOT,
    PAYMENTS,
    REASONS,
    RULE_HITS,
    SCORE_BITS,
)
from detector.memory import Memory, address, table_rows
from detector.observe import unpack_letters
from detector.state import PartitionState
from detector.vocabulary import Channel, Kind

MAXIMUM_REASONS = 4
_ACTION_MASK = 0xFF
_FLAGS_SHIFT, _POLICY_SHIFT = 8, 32
_CODE_BITS = 16
_CODE_MASK = (1 << _CODE_BITS) - 1
LAST_PAYMENTS = 20
_KINDS = {int(kind): kind.wire for kind in Kind}
_CHANNELS = {int(channel): channel.wire for channel in Channel}


def _code(state: PartitionState, text: str) -> int:
    """A small number for a code, kept with the partition; 0 stands for none."""
    if text not in state.reason_codes:
        state.reason_codes.append(text)
    return state.reason_codes.index(text) + 1


def pack_codes(state: PartitionState, codes: list[str]) -> int:
    """Up to four reason codes as one word."""
    packed = 0
    for index, code in enumerate(codes[:MAXIMUM_REASONS]):
        packed |= (_code(state, code) & _CODE_MASK) << (_CODE_BITS * index)
    return packed - (1 << 64) if packed >> 63 else packed


def unpack_codes(state: PartitionState, packed: int) -> list[str]:
    """The reason codes that `pack_codes` packed."""
    numbers = [(packed >> (_CODE_BITS * index)) & _CODE_MASK for index in range(MAXIMUM_REASONS)]
    return [state.reason_codes[number - 1] for number in numbers if 0 < number <= len(state.reason_codes)]


def store_decisions(
    state: PartitionState, rows: NDArray[np.int64], columns: tuple[NDArray[Any], ...], policy_version: str
) -> None:
    """Keep decisions beside their payments.

    The rows must have been touched by this batch, so that an error takes the decisions back as well.

    Args:
        state: of the partition.
        rows: of the ring of payments.
        columns: action, flags, score, anomaly, expected loss and rule hits, one row a payment.
        policy_version: whose rules the hits are.
    """
    action, flags, score, anomaly, expected_loss, rule_hits = columns
    payments = table_rows(state.memory, int(PAYMENTS))
    policy = _code(state, policy_version)
    payments[rows, DECIDED] = action | (flags << _FLAGS_SHIFT) | (policy << _POLICY_SHIFT)
    payments[rows, SCORE_BITS] = np.ascontiguousarray(score).view(np.int64)
    payments[rows, ANOMALY_BITS] = np.ascontiguousarray(anomaly).view(np.int64)
    payments[rows, EXPECTED_LOSS] = expected_loss
    payments[rows, RULE_HITS] = rule_hits


def store_reasons(state: PartitionState, row: int, codes: list[str]) -> None:
    """Keep a decision's reasons beside its payment."""
    table_rows(state.memory, int(PAYMENTS))[row, REASONS] = pack_codes(state, codes)


def stored_reasons(state: PartitionState, row: int) -> list[str]:
    """The reasons of a decision given earlier."""
    return unpack_codes(state, int(table_rows(state.memory, int(PAYMENTS))[row, REASONS]))


def stored_decisions(
    state: PartitionState, rows: NDArray[np.int64], policy_version: str
) -> tuple[NDArray[np.int64], ...]:
    """Decisions given earlier: action, flags, score bits, anomaly bits, expected loss and rule hits, all int64.

    Rule hits are bits over one policy's rules, so they are 0 where another policy decided.
    """
    payments = table_rows(state.memory, int(PAYMENTS))[rows]
    decided = payments[:, DECIDED]
    flags = (decided >> _FLAGS_SHIFT) & ((1 << (_POLICY_SHIFT - _FLAGS_SHIFT)) - 1)
    same_policy = (decided >> _POLICY_SHIFT) == _code(state, policy_version)
    return (
        decided & _ACTION_MASK,
        flags,
        payments[:, SCORE_BITS],
        payments[:, ANOMALY_BITS],
        payments[:, EXPECTED_LOSS],
        np.where(same_policy, payments[:, RULE_HITS], 0),
    )


@kernel
def _collect_events(memory: Memory, chunk: int, slot: int, out: NDArray[np.int64]) -> int:
    """Copy a card's events within memory of one, which comes first, youngest first; returns how many fitted.

    What that one had left behind may still stand in its chunk; whether it does is chance and must not show.
    """
    found = 0
    oldest = memory[address(memory, EVENTS, chunk) + EVENT_FIRST + slot * EVENT_WORDS + EVENT_TIME] - MEMORY_MS
    while chunk != 0:
        at = address(memory, EVENTS, chunk)
        while slot >= 0:
            if memory[at + EVENT_FIRST + slot * EVENT_WORDS + EVENT_TIME] <= oldest:
                return found
            for word in range(EVENT_WORDS):
                out[found, word] = memory[at + EVENT_FIRST + slot * EVENT_WORDS + word]
            found += 1
            if found == out.shape[0]:
                return found
            slot -= 1
        chunk = memory[at + PREVIOUS]
        slot = EVENTS_PER_CHUNK - 1
    return found


def last_events(state: PartitionState, payment_row: int) -> list[list[int]]:
    """The words of a card's payments up to a remembered one, which comes first, youngest first, at most 20."""
    memory = state.memory
    remembered = table_rows(memory, int(PAYMENTS))[payment_row]
    card = table_rows(memory, int(CARDS))[int(remembered[PAYMENT_CARD])]
    if not remembered[PAYMENT_CARD] or card[GENERATION] != remembered[PAYMENT_GENERATION]:
        return []
    out = np.empty((LAST_PAYMENTS, EVENT_WORDS), dtype=np.int64)
    count = _collect_events(memory, remembered[PAYMENT_CHUNK], remembered[PAYMENT_SLOT], out)
    events: list[list[int]] = out[:count].tolist()
    return events


def payment_of(words: Sequence[int], names: Mapping[int, str]) -> dict[str, Any]:
    """One payment of a card's history as people read it.

    Nothing of it changes afterwards: what is shown does not depend on what came later in the same batch.
    """
    attributes = words[ATTRIBUTES]
    channel = (attributes >> CHANNEL_SHIFT) & 7
    payment: dict[str, Any] = {
        "event_time_ms": words[EVENT_TIME],
        "amount_minor": words[AMOUNT_MINOR],
        "currency": unpack_letters(attributes >> CURRENCY_SHIFT, 3),
        "kind": _KINDS[(attributes >> KIND_SHIFT) & 7],
        "channel": _CHANNELS[channel] if channel else None,
        "merchant_id": names.get(words[MERCHANT_WORD]),
        "country": unpack_letters(attributes >> COUNTRY_SHIFT, 2),
        "refused": bool(attributes & ATTRIBUTE_REFUSED_AT_FIRST),
    }
    return {name: value for name, value in payment.items() if value is not None}
