"""What every store of segments promises the engine."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from detector.catalogue import FEATURE_COUNT
from detector.errors import SegmentError
from detector.layout import PAYMENT_AMOUNT, PAYMENT_WORDS
from detector.segments import (
    Columns,
    Segments,
    bins_of,
    digest_of_columns,
    find_identities,
    segment_name,
    to_columns,
    words_of,
)
from streams.segment_files import SegmentFiles
from tests.detector.memory_segments import MemorySegments


def _content(seed: int, rows: int = 500) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 200, (rows, PAYMENT_WORDS))
    words[:, :2] = rng.integers(-(2**62), 2**62, (rows, 2))
    return words, rng.integers(0, 256, (rows, FEATURE_COUNT), dtype=np.uint8)


Made = Callable[[], Segments]


@pytest.fixture(params=["dictionary", "folder", "object store"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    """Makes a store again and again: as another process would find it."""
    if request.param == "dictionary":
        store = MemorySegments()
        return lambda: store
    url = tmp_path.as_uri() if request.param == "folder" else f"memory://{uuid.uuid4().hex}"
    return lambda: SegmentFiles(url)


def _write(store: Segments, columns: Columns, number: int = 1) -> str:
    name = segment_name(number, digest_of_columns(columns))
    store.write(3, name, columns)
    return name


def test_what_was_written_is_read_by_whoever_comes(made: Made) -> None:
    """Every word that a label asks for, and every bin, wherever it is read; written twice is written once."""
    words, bins = _content(1)
    columns = to_columns(words, bins)
    for _ in range(2):
        name = _write(made(), columns)
    for store in (made(), made()):
        read = store.read(3, name)
        rows = find_identities(read, words[:, :2])
        assert (rows >= 0).all()
        stored = words_of(read, rows)
        kept = np.flatnonzero(stored.any(axis=0))
        assert len(kept) > 20
        assert np.array_equal(stored[:, kept], words[:, kept])
        assert np.array_equal(bins_of(read, rows), bins)
        assert digest_of_columns(read) == digest_of_columns(columns)


def test_what_is_not_there_is_not_found(made: Made) -> None:
    """A payment of another segment, a segment of another partition, one that was never written."""
    words, bins = _content(2)
    name = _write(made(), to_columns(words, bins))
    strange = _content(3)[0][:, :2]
    half = np.column_stack([words[:, 0], words[:, 1] + 1])
    for identity in (strange, half):
        assert set(find_identities(made().read(3, name), identity).tolist()) == {-1}
    for partition, wanted in ((4, name), (3, segment_name(9, 9))):
        with pytest.raises(SegmentError):
            made().read(partition, wanted)


def test_of_equal_identities_the_youngest_is_found() -> None:
    """A payment whose id came again long after is the one that a label means."""
    words, bins = _content(4, rows=60)
    words[40, :2] = words[7, :2]
    columns = to_columns(words, bins)
    found = words_of(columns, find_identities(columns, words[7:8, :2]))
    assert found[0, PAYMENT_AMOUNT] == words[40, PAYMENT_AMOUNT] != words[7, PAYMENT_AMOUNT]


def test_a_sweep_spares_the_living_and_the_young(made: Made) -> None:
    """What a state names stays; what none names goes only when no checkpoint can name it any more."""
    store = made()
    names = [_write(store, to_columns(*_content(seed)), seed) for seed in (1, 2)]
    store.sweep(3, names[:1])
    store.sweep(4, [])
    for name in names:
        assert len(made().read(3, name)) > 10


def test_files_that_no_state_names_go_after_a_day(tmp_path: Path) -> None:
    """Also those that a crash has left half written."""
    names = [_write(SegmentFiles(tmp_path.as_uri()), to_columns(*_content(seed)), seed) for seed in (1, 2)]
    folder = tmp_path / "kept" / "3"
    (folder / "0000000003-x.unfinished").write_bytes(b"half")
    for path in folder.iterdir():
        os.utime(path, (time.time() - 7_200, time.time() - 7_200))
    SegmentFiles(tmp_path.as_uri()).sweep(3, names[:1])
    assert len(list(folder.iterdir())) == 3
    SegmentFiles(tmp_path.as_uri(), lambda: time.time() + 86_400).sweep(3, names[:1])
    assert [path.name for path in folder.iterdir()] == names[:1]


@pytest.mark.parametrize("damage", ["cut", "empty", "other", "longer"])
def test_a_damaged_file_is_told(damage: str, tmp_path: Path) -> None:
    """Whatever is not as it was written is refused, and never half read."""
    name = _write(SegmentFiles(tmp_path.as_uri()), to_columns(*_content(1)))
    path = tmp_path / "kept" / "3" / name
    data = path.read_bytes()
    path.write_bytes({"cut": data[:-1], "empty": b"", "other": b"{}\n" + data, "longer": data + b"x"}[damage])
    with pytest.raises(SegmentError):
        SegmentFiles(tmp_path.as_uri()).read(3, name)


def test_a_disk_that_takes_nothing_is_told(tmp_path: Path) -> None:
    """What cannot be written is an error of the one kind that the engine knows."""
    (tmp_path / "kept").write_text("no folder")
    with pytest.raises(SegmentError, match="cannot be written"):
        _write(SegmentFiles(tmp_path.as_uri()), to_columns(*_content(1)))
