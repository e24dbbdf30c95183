"""The one door to Numba: a typed decorator, the place of its cache, and the truth about whether the compiler is on.

Kernels are loops over primitives and arrays; validation lives in the public function above them. With
`NUMBA_DISABLE_JIT=1` the same functions run as plain Python, which coverage and the naive twins rely on.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

_P = ParamSpec("_P")
_R = TypeVar("_R")
# Numba sets the attributes of its configuration module at run time, where mypy cannot see them.
_NUMBA_CONFIG: Any = numba.config
# `_nrt` is known to Numba's compiler but not to the types of its decorator.
_NJIT: Any = numba.njit


def _cache_directory() -> str:
    """Name a cache folder after the sources of all kernels.

    Numba's own cache notices a change of the file a kernel stands in, but not of the helpers it has inlined from
    other files; a folder per state of the sources can never serve machine code of yesterday's helper.
    """
    kernels = Path(__file__).parent, Path(__file__).parents[1] / "streams" / "kernels"
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    digest = hashlib.sha256(numba.__version__.encode())
    for source in sorted(path for folder in kernels for path in folder.rglob("*.py")):
        digest.update(source.read_bytes())
    return str(Path(root) / "cardwatch" / "numba" / digest.hexdigest()[:16])


if not os.environ.get("NUMBA_CACHE_DIR"):
    _NUMBA_CONFIG.CACHE_DIR = _cache_directory()


def constants(count: int) -> tuple[int, ...]:
    """The numbers 0 to count - 1, as names for kernels to pass on.

    Numba compiles a function anew for every Python integer that it is called with as a literal; a NumPy integer is a
    constant to LLVM just as well, and compiles once.
    """
    return cast("tuple[int, ...]", tuple(np.int64(number) for number in range(count)))


def kernel(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Compile a kernel that allocates no array, cached on disk so that only an installation's first process pays.

    Arrays are then passed without counting references: the atomic increments were 40% of the walk over a batch. IEEE
    semantics (no fastmath) keep results equal to the naive twins to the bit. Other threads run meanwhile.
    """
    return cast("Callable[_P, _R]", _NJIT(cache=True, error_model="numpy", nogil=True, _nrt=False)(function))


def inlined(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Compile a part of a kernel that is to stand in its caller's code, as LLVM decides only for small ones.

    Numba passes every word of every array's description as an argument of its own: where a part is called for each
    field of each record, and takes several arrays, the calls cost more than the work.
    """
    options = {"cache": True, "error_model": "numpy", "nogil": True, "_nrt": False, "forceinline": True}
    return cast("Callable[_P, _R]", _NJIT(**options)(function))


def jit_enabled() -> bool:
    """Whether kernels are compiled; CI fails when this is False without having been asked for."""
    return not bool(_NUMBA_CONFIG.DISABLE_JIT)


def _prefetch(_typing: Any, array: Any, index: Any) -> Any:
    """Type `prefetch(array, index)` and write its one machine instruction."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        words = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        line = builder.bitcast(builder.gep(words.data, [arguments[1]]), pointer)
        shape = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        instruction = builder.module.declare_intrinsic("llvm.prefetch", [pointer], shape)
        # To read, into all levels of the cache, as data.
        builder.call(instruction, [line, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, index), generate


def _prefetch_nothing(_array: NDArray[Any], _index: int | np.integer[Any]) -> None:
    """Stand in where nothing is compiled: plain Python has no caches to warm."""


# Ask the processor to bring the cache line of `array[index]` nearer. It changes nothing and never faults.
prefetch = cast(
    "Callable[[NDArray[Any], int | np.integer[Any]], None]",
    intrinsic(_prefetch) if jit_enabled() else _prefetch_nothing,
)


def _load_word(_typing: Any, buffer: Any, _index: Any) -> Any:
    """Type `load_word(buffer, index)` and write its one machine instruction."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.IntType(64).as_pointer())
        return builder.load(place, align=1)

    return types.uint64(buffer, types.int64), generate


def _load_word_plainly(buffer: NDArray[np.uint8], index: int) -> np.uint64:
    """The same in plain Python."""
    return np.uint64(int.from_bytes(buffer[index : index + 8].tobytes(), "little"))


def _store_word(_typing: Any, buffer: Any, _index: Any, _word: Any) -> Any:
    """Type `store_word(buffer, index, word)` and write its one machine instruction."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.IntType(64).as_pointer())
        builder.store(arguments[2], place, align=1)
        return context.get_dummy_value()

    return types.void(buffer, types.int64, types.uint64), generate


def _store_word_plainly(buffer: NDArray[np.uint8], index: int, word: np.uint64) -> None:
    """The same in plain Python."""
    buffer[index : index + 8] = np.frombuffer(int(word).to_bytes(8, "little"), dtype=np.uint8)


def _trailing_zeros(_typing: Any, _word: Any) -> Any:
    """Type `trailing_zeros(word)` and write its one machine instruction."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


def _trailing_zeros_plainly(word: np.uint64) -> int:
    """The same in plain Python."""
    number = int(word)
    return (number & -number).bit_length() - 1 if number else 64


# `buffer[index : index + 8]` as one little-endian word, whether or not `index` is a multiple of 8. The caller vouches
# that all 8 bytes lie inside of the buffer: LLVM does not merge eight loads of a byte that Numba may wrap around.
load_word = cast(
    "Callable[[NDArray[np.uint8], int], np.uint64]", intrinsic(_load_word) if jit_enabled() else _load_word_plainly
)
# The other way round, under the same condition.
store_word = cast(
    "Callable[[NDArray[np.uint8], int, np.uint64], None]",
    intrinsic(_store_word) if jit_enabled() else _store_word_plainly,
)
# How many low bits of a word are 0; 64 for the word 0.
trailing_zeros = cast(
    "Callable[[np.uint64], int]", intrinsic(_trailing_zeros) if jit_enabled() else _trailing_zeros_plainly
)
