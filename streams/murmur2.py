"""Kafka's default partitioner for keyed records: murmur2 of the key, as the Java client computes it.

librdkafka's own default is CRC32; where cards are the key and partition p of several topics must hold the same cards,
every producer has to agree (DESIGN, decision 11).

Source: `org.apache.kafka.common.utils.Utils.murmur2`, after Austin Appleby's MurmurHash2.
"""

from __future__ import annotations

_SEED = 0x9747B28C
_MULTIPLIER = 0x5BD1E995
_SHIFT = 24
_WORD = 0xFFFFFFFF
_POSITIVE = 0x7FFFFFFF


def murmur2(data: bytes) -> int:
    """MurmurHash2 of `data` as an unsigned 32-bit integer."""
    length = len(data)
    state = (_SEED ^ length) & _WORD
    whole = length - length % 4
    for start in range(0, whole, 4):
        word = int.from_bytes(data[start : start + 4], "little") * _MULTIPLIER & _WORD
        word ^= word >> _SHIFT
        word = word * _MULTIPLIER & _WORD
        state = state * _MULTIPLIER & _WORD ^ word
    if whole < length:
        state = (state ^ int.from_bytes(data[whole:], "little")) * _MULTIPLIER & _WORD
    state ^= state >> 13
    state = state * _MULTIPLIER & _WORD
    return state ^ state >> 15


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of `key` among `partitions`, as Kafka's DefaultPartitioner chooses it."""
    return (murmur2(key) & _POSITIVE) % partitions
