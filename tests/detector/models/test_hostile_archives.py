"""A model file from somewhere else is data: whatever it holds, it is refused or it can be used; it never breaks us."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from detector.errors import ModelError
from detector.models import ModelsConfig, ModelVersion, Trainer, archive
from detector.models.drift import DriftMonitor
from tests.detector.models.helpers import DIGEST, GRIDS, models_mapping, random_bins, random_examples, told
from tests.detector.models.test_continuation import Told

# What may be held while a file of a few kilobytes is refused.
_BEARABLE_BYTES = 48 * 2**20
_CHALLENGERS = [
    {"name": "faster", "logistic": {"learning_rate": 0.2}},
    {"name": "bayes", "river": [{"name": "naive_bayes.GaussianNB"}]},
]


def _trainer() -> Trainer:
    return Trainer(ModelsConfig.from_mapping(models_mapping() | {"challengers": _CHALLENGERS}), GRIDS, DIGEST)


@cache
def _good() -> bytes:
    trainer = _trainer()
    trainer.monitor = DriftMonitor(trainer.binner, Told())
    trainer.learn(random_examples(1, 300))
    return trainer.version("m-000001", 7).to_bytes()


def _is_refused(data: bytes) -> bool:
    """Whether bytes are refused; what is not must score, explain and be learned from."""
    try:
        version = ModelVersion.from_bytes(data)
    except ModelError:
        return True
    bins = random_bins(3, 20)
    for contender in (version, *version.challengers):
        if contender.binner == _trainer().binner:
            score, anomaly = told(contender, bins)
            assert ((score >= 0) & (score <= 1)).all()
            assert np.isfinite(anomaly).all()
            assert np.isfinite(contender.contributions(bins)).all()
    assert version.to_bytes()
    try:
        trainer = _trainer().resume(version)
    except ModelError:
        return False
    drift = version.shared.drift if version.shared is not None else None
    trainer.monitor = DriftMonitor(trainer.binner, Told(), drift)
    trainer.learn(random_examples(4, 60))
    assert trainer.version("m-000002", 8).to_bytes()
    return False


def test_what_is_good_is_taken() -> None:
    """The rest of this file would hold of a reader that refuses all."""
    assert not _is_refused(_good())
    assert ModelVersion.from_bytes(_good()).to_bytes() == _good()


@pytest.mark.compiled
@given(st.lists(st.tuples(st.integers(0, 2**31), st.integers(0, 255)), min_size=1, max_size=40), st.data())
@settings(max_examples=60, deadline=None)
def test_mutated_bytes(changes: list[tuple[int, int]], data: st.DataObject) -> None:
    """Bytes changed, cut off, doubled or put elsewhere."""
    mutated = bytearray(_good())
    for place, value in changes:
        mutated[place % len(mutated)] = value
    start, stop = sorted(data.draw(st.tuples(st.integers(0, len(mutated)), st.integers(0, len(mutated)))))
    kind = data.draw(st.sampled_from(["kept", "cut", "doubled", "moved"]))
    if kind == "cut":
        del mutated[start:stop]
    elif kind == "doubled":
        mutated[start:start] = mutated[start:stop]
    elif kind == "moved":
        mutated = mutated[stop:] + mutated[start:stop] + mutated[:start]
    _is_refused(bytes(mutated))


_NUMBERS = st.one_of(
    st.sampled_from([0, -1, 1, 2**31 - 1, -(2**31), 2**62, 2**63 - 1, -(2**63), 255, 16, 1e308, -1e308]),
    st.floats(), st.integers(-5, 300),
)  # fmt: skip


@pytest.mark.compiled
@given(st.data())
@settings(max_examples=80, deadline=None)
def test_arrays_of_any_kind_under_a_digest_that_fits(data: st.DataObject) -> None:
    """Another shape, another type, another value anywhere in any array."""
    meta, arrays = archive.unpack(_good())
    for name in data.draw(st.sets(st.sampled_from(sorted(arrays)), min_size=1, max_size=3)):
        array = arrays[name]
        kind = data.draw(st.sampled_from(["value", "values", "shape", "type", "any"]))
        if kind == "any":
            made = hnp.arrays(st.sampled_from(["f8", "f4", "i8", "i4", "u1"]), hnp.array_shapes(max_dims=4, max_side=6))
            arrays[name] = data.draw(made)
        elif kind == "shape":
            flat = array.ravel()[: data.draw(st.integers(0, 64))]
            arrays[name] = flat if len(flat) % 2 else flat.reshape(2, -1)
        elif kind == "type":
            with np.errstate(all="ignore"):
                arrays[name] = array.astype(data.draw(st.sampled_from(["f8", "f4", "i8", "i4", "u1"])))
        elif array.size:
            value = data.draw(_NUMBERS)
            with np.errstate(all="ignore"):
                place = slice(None) if kind == "values" else data.draw(st.integers(0, array.size - 1))
                array.ravel()[place] = np.array(value, dtype=np.float64).astype(array.dtype)
    _is_refused(archive.pack(meta, arrays))


@pytest.mark.compiled
@pytest.mark.parametrize("largest", [2**61, 2**62, 2**63 - 1, 1e14, 1e15, 1e308, float("inf")])
def test_a_count_near_its_end_is_refused_or_leaves_room_to_count_on(largest: float) -> None:
    """Each array in turn; hypothesis found one that was taken and could not be written once learned from."""
    for name in archive.unpack(_good())[1]:
        meta, arrays = archive.unpack(_good())
        array = arrays[name]
        if array.size and array.dtype == (np.int64 if isinstance(largest, int) else np.float64):
            array.ravel()[0] = largest
            _is_refused(archive.pack(meta, arrays))


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=80), st.just(10**400)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)


@pytest.mark.compiled
@given(st.data())
@settings(max_examples=60, deadline=None)
def test_texts_of_any_kind_under_a_digest_that_fits(data: st.DataObject) -> None:
    """Any JSON in place of any value, in the table of a contender as well."""
    meta, arrays = archive.unpack(_good())
    for key in data.draw(st.sets(st.sampled_from(sorted(meta)), min_size=1, max_size=2)):
        meta[key] = data.draw(_JSON)
    if isinstance(meta["contenders"], list) and meta["contenders"] and data.draw(st.booleans()):
        own = meta["contenders"][-1]
        if isinstance(own, dict) and own:
            own[data.draw(st.sampled_from(sorted(own)))] = data.draw(_JSON)
    _is_refused(archive.pack(meta, arrays))


def _entry(header: str, content: bytes) -> bytes:
    """An array's entry with any header."""
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def _zip(entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as opened:
        for name, content in entries.items():
            opened.writestr(name, content)
    return buffer.getvalue()


def _claim(shape: str, descr: str = "<f8") -> str:
    return f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"


_BOMB = bytes(200 * 2**20)


@pytest.mark.parametrize(
    "data",
    [
        _zip({"meta.npy": _entry(_claim("(9999999999,)"), b"")}),
        _zip({"meta.npy": _entry(_claim("(99999, 99999, 99999)", "|u1"), bytes(64))}),
        _zip({"meta.npy": _entry(_claim("(-1,)"), bytes(8))}),
        _zip({"meta.npy": _entry(_claim("(1,)", "|O"), bytes(8))}),
        _zip({"meta.npy": _entry(_claim("(1,)", "|V8"), bytes(8))}),
        _zip({"meta.npy": _entry("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,), }", bytes(8))}),
        _zip({"meta.npy": _entry("(" * 20_000, bytes(8))}),
        _zip({"meta.npy": _entry(_claim("(1,)") + " " * 60_000, bytes(8))}),
        _zip({f"a{number}.npy": b"" for number in range(2_000)}),
        _zip({"../../meta.npy": b"", "meta": b""}),
        _zip({"meta.npy": bytes(8)}, zipfile.ZIP_BZIP2),
        _zip({"meta.npy": bytes(8)}, zipfile.ZIP_LZMA),
        _zip({"meta.npy": _BOMB, "digest.npy": _BOMB}),
    ],
)
def test_claims_cost_nothing(data: bytes) -> None:
    """What says that it will be large, of another kind, or elsewhere is refused before room is made for it."""
    tracemalloc.start()
    try:
        assert _is_refused(data)
        assert tracemalloc.get_traced_memory()[1] < _BEARABLE_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "change",
    [
        {"fields": [f"amount>{shift} x ratio" for shift in range(1, 8)] * 2000},
        {"fields": ["amount"] * 2_000},
        {"fields": ["a" * 100_000]},
        {"fields": [" x ".join(["amount"] * 5_000)]},
    ],
)
def test_many_fields_cost_nothing(change: dict[str, Any]) -> None:
    """Room for weights is asked for only after the fields are known to be bearable."""
    meta, arrays = archive.unpack(_good())
    meta["contenders"][0] |= change
    data = archive.pack(meta, arrays)
    tracemalloc.start()
    try:
        assert _is_refused(data)
        assert tracemalloc.get_traced_memory()[1] < _BEARABLE_BYTES
    finally:
        tracemalloc.stop()
