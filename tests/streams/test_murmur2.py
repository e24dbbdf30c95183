"""Our partitioner is Kafka's."""

from __future__ import annotations

import pytest
from aiokafka.partitioner import murmur2 as aiokafka_murmur2  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from streams.murmur2 import murmur2, partition_of


# From Kafka's own UtilsTest.testMurmur2, as signed 32-bit integers.
@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_known_vectors(key: bytes, expected: int) -> None:
    """The vectors of Kafka's Java client come out."""
    assert murmur2(key) == expected & 0xFFFFFFFF


@given(st.binary(max_size=80), st.integers(1, 1000))
def test_agrees_with_another_implementation(key: bytes, partitions: int) -> None:
    """Any key gets the partition that aiokafka, an implementation of its own, gives it."""
    assert murmur2(key) == aiokafka_murmur2(key) & 0xFFFFFFFF
    assert partition_of(key, partitions) == (aiokafka_murmur2(key) & 0x7FFFFFFF) % partitions
