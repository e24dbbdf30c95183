"""The ring of remembered payments: identities, decisions and bins, until a label or their age lets go of them."""

from __future__ import annotations

from detector.jit import kernel
from detector.layout import (
    BINS,
    FIRST_OFFSET,
    PAYMENT_INDEX,
    PAYMENT_SEQUENCE,
    PAYMENT_STATE,
    PAYMENT_TIME,
    PAYMENTS,
    PROGRESS,
    WATERMARK,
    Columns,
    Limits,
)
from detector.memory import (
    CAPACITY,
    HAND,
    HASH,
    KEY_1,
    TAIL,
    USED,
    WIDTH,
    Memory,
    address,
    find,
    info,
    link,
    mark,
    put,
    save_row,
    set_info,
    unlink,
)


@kernel
def ring_row(memory: Memory, sequence: int) -> int:
    """The row of the ring of payments that the n-th entry stands in."""
    return 1 + (sequence - 1) % info(memory, PAYMENTS, CAPACITY)


@kernel
def watermark_of(memory: Memory) -> int:
    """Largest event time of the partition so far."""
    return memory[address(memory, PROGRESS, 1) + WATERMARK]


@kernel
def withdraw(memory: Memory, row: int) -> None:
    """Take a remembered payment out of the index."""
    unlink(memory, PAYMENT_INDEX, PAYMENTS, row)
    put(memory, address(memory, PAYMENTS, row) + PAYMENT_STATE, 0)


@kernel
def _drop_old_payments(memory: Memory, limits: Limits) -> None:
    """Let go of the oldest payments where the ring is full or they have waited long enough."""
    for _ in range(2):
        tail, hand = info(memory, PAYMENTS, TAIL), info(memory, PAYMENTS, HAND)
        if tail == hand:
            return
        row = ring_row(memory, tail)
        at = address(memory, PAYMENTS, row)
        full = hand - tail >= info(memory, PAYMENTS, CAPACITY)
        if not full and memory[at + PAYMENT_TIME] > watermark_of(memory) - limits.retention_ms:
            return
        if memory[at + PAYMENT_STATE] != 0:
            withdraw(memory, row)
        set_info(memory, PAYMENTS, TAIL, tail + 1)


@kernel
def remember(memory: Memory, batch: Columns, record: int, time_ms: int, state: int, limits: Limits) -> int:
    """Enter a record into the ring of remembered payments; returns its row."""
    _drop_old_payments(memory, limits)
    hand = info(memory, PAYMENTS, HAND)
    row = ring_row(memory, hand)
    set_info(memory, PAYMENTS, HAND, hand + 1)
    if row < info(memory, PAYMENTS, USED):
        save_row(memory, PAYMENTS, row)
        save_row(memory, BINS, row)
    else:
        set_info(memory, PAYMENTS, USED, row + 1)
        set_info(memory, BINS, USED, row + 1)
        mark(memory, address(memory, PAYMENTS, row), info(memory, PAYMENTS, WIDTH))
        mark(memory, address(memory, BINS, row), info(memory, BINS, WIDTH))
    at = address(memory, PAYMENTS, row)
    for index in range(info(memory, PAYMENTS, WIDTH)):
        memory[at + index] = 0
    memory[at + HASH] = batch.identity[record, 0]
    memory[at + KEY_1] = batch.identity[record, 1]
    memory[at + PAYMENT_TIME] = time_ms
    memory[at + PAYMENT_STATE] = state
    memory[at + FIRST_OFFSET] = batch.offset[record]
    memory[at + PAYMENT_SEQUENCE] = hand
    link(memory, PAYMENT_INDEX, PAYMENTS, row)
    return row


@kernel
def recall(memory: Memory, key_0: int, key_1: int, limits: Limits) -> int:
    """The payment with this identity within the memory of identities, or 0."""
    row = find(memory, PAYMENT_INDEX, PAYMENTS, key_0, key_1, 0)
    if row == 0:
        return 0
    oldest = watermark_of(memory) - limits.identity_memory_ms
    return row if memory[address(memory, PAYMENTS, row) + PAYMENT_TIME] > oldest else 0
