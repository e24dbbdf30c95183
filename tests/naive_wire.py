"""The slow, obvious twins of the kernels between the wire and the engine."""

from __future__ import annotations

_WORD = 2**64 - 1


def _rotated(word: int, bits: int) -> int:
    return (word << bits | word >> (64 - bits)) & _WORD


def _round(v: list[int]) -> None:
    v[0] = (v[0] + v[1]) & _WORD
    v[1] = _rotated(v[1], 13) ^ v[0]
    v[0] = _rotated(v[0], 32)
    v[2] = (v[2] + v[3]) & _WORD
    v[3] = _rotated(v[3], 16) ^ v[2]
    v[0] = (v[0] + v[3]) & _WORD
    v[3] = _rotated(v[3], 21) ^ v[0]
    v[2] = (v[2] + v[1]) & _WORD
    v[1] = _rotated(v[1], 17) ^ v[2]
    v[2] = _rotated(v[2], 32)


def siphash_128(data: bytes, key: bytes) -> tuple[int, int]:
    """SipHash-2-4 with 128 bits, a word of the message after the other, as the paper writes it."""
    k0, k1 = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D ^ 0xEE, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]
    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) & 0xFF])
    for start in range(0, len(padded), 8):
        word = int.from_bytes(padded[start : start + 8], "little")
        v[3] ^= word
        _round(v)
        _round(v)
        v[0] ^= word
    v[2] ^= 0xEE
    for _ in range(4):
        _round(v)
    first = v[0] ^ v[1] ^ v[2] ^ v[3]
    v[1] ^= 0xDD
    for _ in range(4):
        _round(v)
    return first, v[0] ^ v[1] ^ v[2] ^ v[3]


def record_batches(
    data: bytes, counts: list[int], offsets: list[int], timestamps_ms: list[int], append_ms: list[int]
) -> list[tuple[int, int, bytes | None, bytes | None, list[tuple[bytes, bytes | None]]]]:
    """Kafka's records of several batches, one behind the other: offset, timestamp, key, value, headers.

    Raises:
        ValueError: the batches are not what is said of them.
    """
    found = []
    reader = _Reader(data)
    for count, first, base_ms, append in zip(counts, offsets, timestamps_ms, append_ms, strict=True):
        for _ in range(min(count, len(data) + 1)):
            record = _Reader(reader.take(reader.number()))
            record.take(1)
            own_ms, offset = base_ms + record.number(), first + record.number()
            key, value = record.text(), record.text()
            headers = [(record.text() or b"", record.text()) for _ in range(record.number())]
            record.require_end()
            found.append((offset, append if append >= 0 else own_ms, key, value, headers))
    reader.require_end()
    return found


class _Reader:
    """Reads bytes from their start on."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def take(self, count: int) -> bytes:
        if not 0 <= count <= len(self._data):
            raise ValueError(count)
        taken, self._data = self._data[:count], self._data[count:]
        return taken

    def number(self) -> int:
        """A varint in zigzag encoding."""
        value = 0
        for index in range(10):
            (byte,) = self.take(1)
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                value &= _WORD
                return value >> 1 ^ -(value & 1)
        raise ValueError(value)

    def text(self) -> bytes | None:
        """Bytes behind their length, which is -1 for none."""
        length = self.number()
        return None if length == -1 else self.take(length)

    def require_end(self) -> None:
        if self._data:
            raise ValueError(len(self._data))
