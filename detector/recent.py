"""What a partition remembers of single payments: decisions already given, and a card's last payments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.cards import column_start
from detector.catalogue import DAY_MS
from detector.jit import kernel
from detector.layout import (
    ABOUT_CHANNEL_SHIFT,
    ABOUT_COUNTRY_SHIFT,
    ABOUT_CURRENCY_SHIFT,
    ABOUT_KIND_SHIFT,
    ABOUT_REFUSED_AT_FIRST,
    ANOMALY_BITS,
    BINS,
    CARDS,
    DECIDED,
    EXPECTED_LOSS,
    FIRST_NUMBER,
    GENERATION,
    PAYMENT_ABOUT,
    PAYMENT_AMOUNT_MINOR,
    PAYMENT_CARD,
    PAYMENT_ENTITY_KEYS,
    PAYMENT_GENERATION,
    PAYMENT_NUMBER,
    PAYMENT_REVIEW_SHARE,
    PAYMENT_SEQUENCE,
    PAYMENT_TIME,
    PAYMENT_WORDS,
    PAYMENTS,
    REASONS,
    RING,
    RULE_HITS,
    SCORE_BITS,
    SHARED_MERCHANT,
)
from detector.memory import CAPACITY, Memory, address, descriptor, mark, table_rows
from detector.observe import unpack_letters
from detector.state import PartitionState
from detector.vocabulary import Action, Channel, Flag, Kind

MAXIMUM_REASONS = 4
_ACTION_MASK = 0xFF
_DECLINE, _FREEZE = int(Action.DECLINE), int(Action.FREEZE)
_FLAGS_SHIFT, _POLICY_SHIFT = 8, 32
_CODE_BITS = 16
_WORD_BYTES = 8
_CODE_MASK = (1 << _CODE_BITS) - 1
LAST_PAYMENTS = 20
# Nothing this young is forgotten by what follows in the same batch: see `engine._pieces`.
LAST_PAYMENTS_WITHIN_MS = 21 * DAY_MS
_LARGEST_BATCH = 1 << 16
_RING_MASK = (1 << 32) - 1
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


class Answers(NamedTuple):
    """What is kept of answers, one row a record.

    Attributes:
        action, flags: int64 codes.
        score, anomaly: float64.
        expected_loss, rule_hits: int64.
        bins: uint8 (n, F), as scored.
    """

    action: NDArray[np.int64]
    flags: NDArray[np.int64]
    score: NDArray[np.float64]
    anomaly: NDArray[np.float64]
    expected_loss: NDArray[np.int64]
    rule_hits: NDArray[np.int64]
    bins: NDArray[np.uint8]


@kernel
def _store_rows(
    memory: Memory,
    payment_row: NDArray[np.int64],
    duplicate: NDArray[np.int64],
    policy: int,
    review_share_bits: int,
    answers: Answers,
    score_bits: NDArray[np.int64],
    anomaly_bits: NDArray[np.int64],
) -> None:
    """Write the answers to records that repeat none, in order: a row of the ring may be used twice by one batch."""
    stored = memory.view(np.uint8)
    for record in range(payment_row.shape[0]):
        if duplicate[record] != 0:
            continue
        at = address(memory, PAYMENTS, payment_row[record])
        memory[at + DECIDED] = (
            answers.action[record] | (answers.flags[record] << _FLAGS_SHIFT) | (policy << _POLICY_SHIFT)
        )
        memory[at + SCORE_BITS] = score_bits[record]
        memory[at + ANOMALY_BITS] = anomaly_bits[record]
        memory[at + EXPECTED_LOSS] = answers.expected_loss[record]
        memory[at + RULE_HITS] = answers.rule_hits[record]
        memory[at + PAYMENT_REVIEW_SHARE] = review_share_bits
        into = _WORD_BYTES * address(memory, BINS, payment_row[record])
        for column in range(answers.bins.shape[1]):
            stored[into + column] = answers.bins[record, column]


def store_decisions(
    state: PartitionState,
    payment_row: NDArray[np.int64],
    duplicate: NDArray[np.int64],
    answers: Answers,
    policy_version: str,
    review_share: float,
) -> None:
    """Keep answers and bins beside their payments.

    Called in the batch that brought the payments, so that an error takes them back as well: their rows were saved when
    they were entered into the ring.

    Args:
        state: of the partition.
        payment_row: int64, where each record stands in the ring of payments.
        duplicate: int64, 1 where a record repeats an earlier one, whose answer stands.
        answers: to all records.
        policy_version: whose rules the hits are.
        review_share: share of what was allowed that was chosen for review by chance.
    """
    share = int(np.float64(review_share).view(np.int64))
    bits = (np.ascontiguousarray(answers.score).view(np.int64), np.ascontiguousarray(answers.anomaly).view(np.int64))
    _store_rows(state.memory, payment_row, duplicate, _code(state, policy_version), share, answers, *bits)


def adopt_answer(
    state: PartitionState, row: int, decision: tuple[int, int, float, float], own_bin: tuple[int, int]
) -> None:
    """Put a decision given earlier (action, flags, score, anomaly) in place of the one kept.

    Its bins stay but for `own_bin` (column, bin), that of the anomaly score: another model may have scored.
    """
    action, flags, score, anomaly = decision
    mark(state.memory, int(address(state.memory, PAYMENTS, row)), int(PAYMENT_WORDS))
    words = table_rows(state.memory, int(PAYMENTS))[row]
    words[DECIDED] = action | (flags << _FLAGS_SHIFT) | (_code(state, "") << _POLICY_SHIFT)
    words[SCORE_BITS], words[ANOMALY_BITS] = np.array([score, anomaly]).view(np.int64)
    words[EXPECTED_LOSS] = words[RULE_HITS] = 0
    column, anomaly_bin = own_bin
    mark(state.memory, int(address(state.memory, BINS, row)) + column // _WORD_BYTES, 1)
    table_rows(state.memory, int(BINS)).view(np.uint8)[row, column] = anomaly_bin


def actions_of(decided: NDArray[np.int64]) -> NDArray[np.int64]:
    """The actions of decisions as they stand in the ring, as codes."""
    actions: NDArray[np.int64] = decided & _ACTION_MASK
    return actions


def is_random_review(decided: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which decisions, as they stand in the ring, were to have a payment reviewed that chance had chosen."""
    return (decided >> _FLAGS_SHIFT) & int(Flag.RANDOM_REVIEW) != 0


@kernel
def was_refused(decided: int) -> bool:
    """Whether a decision, as it stands in the ring, stopped its payment."""
    action = decided & _ACTION_MASK
    return action == _DECLINE or action == _FREEZE


def store_reasons(state: PartitionState, row: int, codes: list[str]) -> None:
    """Keep a decision's reasons beside its payment."""
    mark(state.memory, int(address(state.memory, PAYMENTS, row)) + int(REASONS), 1)
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
        actions_of(decided),
        flags,
        payments[:, SCORE_BITS],
        payments[:, ANOMALY_BITS],
        payments[:, EXPECTED_LOSS],
        np.where(same_policy, payments[:, RULE_HITS], 0),
    )


def last_events(state: PartitionState, payment_row: int) -> list[list[int]]:
    """A card's payments up to a remembered one, which comes first, youngest first, at most 20, as words of the ring.

    Shown is what the ring held when the payment was decided, whatever the batch has brought since: payments of three
    weeks, as far back as no batch can reach.
    """
    memory = state.memory
    ring = table_rows(memory, int(PAYMENTS))
    own = ring[payment_row]
    card = int(own[PAYMENT_CARD])
    if not card or table_rows(memory, int(CARDS))[card, GENERATION] != own[PAYMENT_GENERATION]:
        return []
    at = int(address(memory, CARDS, card))
    last = int(own[PAYMENT_NUMBER] - memory[at + FIRST_NUMBER])
    first = int(column_start(memory, at, RING))
    places = memory.view(np.uint32)[first + max(0, last - LAST_PAYMENTS + 1) : first + max(0, last)][::-1]
    sequence, capacity = int(own[PAYMENT_SEQUENCE]), int(descriptor(memory, int(PAYMENTS))[CAPACITY])
    # How many payments lie between; the ring's log is known by 32 bits of it.
    behind = (sequence - places.astype(np.int64)) & _RING_MASK
    rows = ring[1 + (sequence - behind - 1) % capacity]
    is_shown = behind < capacity - _LARGEST_BATCH
    is_shown &= rows[:, PAYMENT_TIME] > own[PAYMENT_TIME] - LAST_PAYMENTS_WITHIN_MS
    shown = len(rows) if is_shown.all() else int(is_shown.argmin())
    events: list[list[int]] = [own.tolist(), *rows[:shown].tolist()]
    return events


def payment_of(words: Sequence[int], names: Mapping[int, str]) -> dict[str, Any]:
    """One payment of a card's history as people read it.

    Nothing of it changes afterwards: what is shown does not depend on what came later in the same batch.
    """
    about = words[PAYMENT_ABOUT]
    channel = (about >> ABOUT_CHANNEL_SHIFT) & 7
    payment: dict[str, Any] = {
        "event_time_ms": words[PAYMENT_TIME],
        "amount_minor": words[PAYMENT_AMOUNT_MINOR],
        "currency": unpack_letters(about >> ABOUT_CURRENCY_SHIFT, 3),
        "kind": _KINDS[(about >> ABOUT_KIND_SHIFT) & 7],
        "channel": _CHANNELS[channel] if channel else None,
        "merchant_id": names.get(words[PAYMENT_ENTITY_KEYS + 2 * SHARED_MERCHANT]),
        "country": unpack_letters(about >> ABOUT_COUNTRY_SHIFT, 2),
        "refused": bool(about & ABOUT_REFUSED_AT_FIRST),
    }
    return {name: value for name, value in payment.items() if value is not None}
