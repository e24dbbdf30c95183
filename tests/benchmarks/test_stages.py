from __future__ import annotations

import time
import types

import pytest

from benchmarks import staged_worker, stages
from benchmarks.stages import Place, StageClock


def test_time_inside_a_stage_counts_for_the_inner_one_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages add up to the whole: none counts what another has counted."""
    now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)

    def inner() -> None:
        nonlocal now
        now += 2.0

    def outer() -> str:
        nonlocal now
        now += 1.0
        place.inner()
        return "done"

    place = types.SimpleNamespace(inner=inner, outer=outer)
    clock = StageClock()
    with clock.watching([Place(place, "inner", "in"), Place(place, "outer", "out")]):
        assert place.outer() == "done"
    assert clock.seconds == {"in": 2.0, "out": 1.0}
    assert place.inner is inner
    assert clock.rows(1, 4.0)[-1] == ["everything else", "1000000.00", "25.0%"]


def test_every_place_that_is_watched_exists() -> None:
    """A function that is renamed is noticed here, not in the middle of a benchmark."""
    for place in (*stages.REPLAY, *staged_worker.PLACES, *staged_worker.WAITING):
        assert callable(getattr(place.owner, place.name))
