"""What of a memory has changed since it was last saved: copied in small steps, so that no step takes long.

A line is eight words; `detector.memory.mark` notes which have changed. `drain` copies changed lines to a chunk aside
and takes their marks away. It may stop half-way, and what changes again is simply copied again: of the copies of a line
the last counts, and it alone is written. Once a drain has found nothing left to copy, the chunks together are exactly
the change since the last `take`, at this moment between two batches.

A base is read from the live memory by another thread while batches go on (`base_arrays`). What it reads of a line may
be old, new or half of each; but whatever changed after the base was begun is marked, so the changes taken from then on
put every such line right. A base therefore counts together with the changes up to the first that is taken after it was
read to its end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from detector.errors import StateError
from detector.jit import kernel, trailing_zeros
from detector.memory import (
    ARENA_BASE,
    ARENA_MAP,
    ARENA_TOP,
    ARENA_UNITS,
    DESCRIPTOR_WORDS,
    HEADER_SIZE,
    LINE,
    LINE_SHIFT,
    LINES_SHIFT,
    MARKS,
    PAGE,
    UNIT_WORDS,
    USED,
    Memory,
    TableSpec,
    descriptor,
    mark,
    table_rows,
)

Arrays = Mapping[str, NDArray[np.generic]]
# 4 MiB of lines: to get fresh pages takes longer than to copy into them, so chunks are used again and again.
CHUNK_LINES = 1 << 16
_PAGE_LINES = PAGE // LINE
# 64 lines a word.
_SEEN_SHIFT = 6
_AT = "at."
_LINES, _WORDS, _HEADER = "lines.", "words.", "header"


@kernel
def _copy_marked(
    memory: Memory, page: int, stop: int, lines: NDArray[np.int64], words: NDArray[np.int64], used: int
) -> tuple[int, int]:
    """Copy the changed lines of pages behind the first `used`; returns the page where room ended, and `used`."""
    while page < stop and used + _PAGE_LINES <= lines.shape[0]:
        bits = np.uint64(memory[memory[MARKS] + page])
        if bits != 0:
            memory[memory[MARKS] + page] = 0
        while bits != 0:
            line = (page << LINES_SHIFT) + trailing_zeros(bits)
            bits &= np.uint64(bits - np.uint64(1))
            lines[used] = line
            for word in range(LINE):
                words[used, word] = memory[(line << LINE_SHIFT) + word]
            used += 1
        page += 1
    return page, used


@kernel
def keep_newest(lines: NDArray[np.int64], words: NDArray[np.int64], seen: NDArray[np.uint64]) -> int:
    """Keep the last copy of each line that is not `seen`, in order, and see it; returns how many there are.

    Args:
        lines: numbers of lines, int64[N]; changed in place.
        words: their copies, int64[N, 8]; changed in place.
        seen: a bit for every line of the memory.
    """
    for index in range(lines.shape[0] - 1, -1, -1):
        line = lines[index]
        bit = np.uint64(1) << np.uint64(line & 63)
        if seen[line >> 6] & bit:
            lines[index] = -1
        seen[line >> 6] |= bit
    kept = 0
    for index in range(lines.shape[0]):
        if lines[index] >= 0:
            if kept != index:
                lines[kept] = lines[index]
                for word in range(LINE):
                    words[kept, word] = words[index, word]
            kept += 1
    return kept


@kernel
def _mark_lines(memory: Memory, lines: NDArray[np.int64]) -> None:
    """Mark lines as changed."""
    for index in range(lines.shape[0]):
        mark(memory, lines[index] << LINE_SHIFT, 1)


@kernel
def _put_lines(memory: Memory, lines: NDArray[np.int64], words: NDArray[np.int64]) -> None:
    """Write copied lines to their places, in order: of several copies the last counts."""
    for index in range(lines.shape[0]):
        for word in range(LINE):
            memory[(lines[index] << LINE_SHIFT) + word] = words[index, word]


class Chunk:
    """Room for copied lines."""

    __slots__ = ("lines", "used", "words")

    def __init__(self) -> None:
        """Reserve."""
        self.lines = np.empty(CHUNK_LINES, dtype=np.int64)
        self.words = np.empty((CHUNK_LINES, LINE), dtype=np.int64)
        self.used = 0


class Room:
    """Chunks that nobody uses now; shared by all memories of a worker."""

    def __init__(self) -> None:
        """Have none yet."""
        self._free: list[Chunk] = []

    def take(self) -> Chunk:
        """An empty chunk."""
        return self._free.pop() if self._free else Chunk()

    def give(self, chunks: Iterable[Chunk]) -> None:
        """Use these again."""
        for chunk in chunks:
            chunk.used = 0
            self._free.append(chunk)


def layout_of(memory: Memory) -> str:
    """What lies where in a memory: its size in words, and a digest of where its tables start and how wide they are.

    Lines mean something only in a memory of the same layout.
    """
    header = memory[: int(memory[HEADER_SIZE])].copy()
    static = [int(header[word]) for word in (HEADER_SIZE, ARENA_BASE, ARENA_MAP, ARENA_UNITS, MARKS)]
    tables = header[int(MARKS) + 1 :]
    tables = tables[: len(tables) // DESCRIPTOR_WORDS * DESCRIPTOR_WORDS].reshape(-1, DESCRIPTOR_WORDS)
    text = f"{static}{tables[:, :USED].tolist()}"
    return f"{len(memory)}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


class Changes:
    """Copies what changes in one memory; the indexes, which are made anew when it is read, are left out."""

    def __init__(self, memory: Memory, specs: tuple[TableSpec, ...], room: Room) -> None:
        """Watch a memory from now on; what was marked before counts as changed."""
        self._memory = memory
        self._specs = specs
        self._room = room
        self._chunks: list[Chunk] = []

    @property
    def held_bytes(self) -> int:
        """Bytes of copies that were not taken yet."""
        return sum(chunk.used for chunk in self._chunks) * LINE * self._memory.itemsize

    def _regions(self) -> Iterator[tuple[int, int]]:
        """Where what is saved starts and stops now, in words: used rows of tables, the arena's map, the arena."""
        memory = self._memory
        for table, spec in enumerate(self._specs):
            if not spec.is_index:
                words = descriptor(memory, table)
                used = 2 if spec.name == "progress" else int(words[USED])
                start = int(words[0])
                yield start, start + used * spec.row_words
        top = int(memory[ARENA_TOP])
        yield int(memory[ARENA_MAP]), int(memory[ARENA_MAP]) + top
        yield int(memory[ARENA_BASE]), int(memory[ARENA_BASE]) + top * UNIT_WORDS

    def drain(self, most_lines: int) -> bool:
        """Copy changed lines aside, about `most_lines` at the most; returns whether nothing is left to copy.

        The caller stands between two batches.
        """
        copied = 0
        for start, stop in self._regions():
            page, last = start // PAGE, -(-stop // PAGE)
            while page < last:
                if copied >= most_lines:
                    return False
                if not self._chunks or self._chunks[-1].used + _PAGE_LINES > CHUNK_LINES:
                    self._chunks.append(self._room.take())
                chunk = self._chunks[-1]
                before = chunk.used
                page, chunk.used = _copy_marked(self._memory, page, last, chunk.lines, chunk.words, before)
                copied += chunk.used - before
        return True

    def take(self) -> tuple[list[Chunk], NDArray[np.int64]]:
        """Everything drained since the last call, and the header as it is now.

        The last `drain` of this moment has left nothing.
        """
        chunks, self._chunks = self._chunks, []
        return chunks, self._memory[: int(self._memory[HEADER_SIZE])].copy()

    def arrays_of(self, chunks: Sequence[Chunk], header: NDArray[np.int64]) -> dict[str, NDArray[np.generic]]:
        """What was taken, as arrays over the chunks, each line once; another thread may ask while batches go on.

        What is shared changes with nearly every payment and was copied at every boundary: most copies are old ones.
        """
        seen = np.zeros((len(self._memory) // LINE >> _SEEN_SHIFT) + 1, dtype=np.uint64)
        for chunk in reversed(chunks):
            chunk.used = keep_newest(chunk.lines[: chunk.used], chunk.words[: chunk.used], seen)
        arrays: dict[str, NDArray[np.generic]] = {_HEADER: header}
        for number, chunk in enumerate(chunks):
            arrays[f"{_LINES}{number:04d}"] = chunk.lines[: chunk.used]
            arrays[f"{_WORDS}{number:04d}"] = chunk.words[: chunk.used]
        return arrays

    def release(self, chunks: Iterable[Chunk]) -> None:
        """What was taken is written: its room may be used again."""
        self._room.give(chunks)

    def put_back(self, chunks: Iterable[Chunk]) -> None:
        """What was taken could not be written: it counts as changed again. The caller stands between two batches."""
        kept = list(chunks)
        for chunk in kept:
            _mark_lines(self._memory, chunk.lines[: chunk.used])
        self._room.give(kept)

    def base_arrays(self) -> Iterator[tuple[str, NDArray[np.int64]]]:
        """Views of everything that is saved, to be read by another thread while batches go on."""
        for start, stop in self._regions():
            yield f"{_AT}{start}", self._memory[start:stop]


class Image:
    """A memory that is being read back: a base, then the changes that follow it, in order."""

    def __init__(self, layout: str) -> None:
        """Prepare for a memory of this layout.

        Raises:
            StateError: the layout is not one.
        """
        try:
            words = int(layout.partition("-")[0])
        except ValueError:
            message = "saved state has no usable layout"
            raise StateError(message) from None
        # Rows start on a cache line, as `reserve` has it.
        room = np.zeros(words + LINE, dtype=np.int64)
        start = -room.ctypes.data % (LINE * room.itemsize) // room.itemsize
        self.memory: Memory = room[start : start + words]
        self.layout = layout
        self._is_complete = False

    def room_for(self, name: str, shape: tuple[int, ...]) -> NDArray[np.int64] | None:
        """Where an array of a base is to be read into; None for any other."""
        if not name.startswith(_AT):
            return None
        start = int(name.removeprefix(_AT))
        if len(shape) != 1 or not 0 <= start <= start + shape[0] <= len(self.memory):
            message = f"saved state has no usable {name}"
            raise StateError(message)
        return self.memory[start : start + shape[0]]

    def apply(self, arrays: Arrays) -> None:
        """Take over changes that follow what is there.

        Raises:
            StateError: they do not fit.
        """
        numbers = [name.removeprefix(_LINES) for name in arrays if name.startswith(_LINES)]
        for number in sorted(numbers):
            lines, words = arrays[f"{_LINES}{number}"], arrays.get(f"{_WORDS}{number}")
            is_usable = words is not None and words.shape == (len(lines), LINE)
            if words is None or not is_usable or lines.dtype != np.int64 or words.dtype != np.int64:
                message = f"saved state has no usable lines {number}"
                raise StateError(message)
            numbered = lines.view(np.int64)
            if len(lines) and (numbered.min() < 0 or numbered.max() >= len(self.memory) // LINE):
                message = "saved lines lie outside of their memory"
                raise StateError(message)
            _put_lines(self.memory, numbered, words.view(np.int64))
        header = arrays.get(_HEADER)
        if header is not None:
            self.memory[: len(header)] = header.view(np.int64)
            self._is_complete = True

    def finish(self) -> Memory:
        """The memory, its indexes still empty.

        Raises:
            StateError: what was read does not make up a memory of its layout.
        """
        if not self._is_complete or layout_of(self.memory) != self.layout:
            message = "saved state is not complete"
            raise StateError(message)
        return self.memory


def used_rows(memory: Memory, table: int) -> NDArray[np.int64]:
    """The rows of a table that were ever used, row 0 included."""
    return table_rows(memory, table)[: int(descriptor(memory, table)[USED])]
