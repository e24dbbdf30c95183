"""Many seeds, each an installation on a simulated world in which processes die, sleep and wake while payments come.

The production code decides everything: seam, checkpoints, recovery, answers, desk, outbox, relay. What is simulated is
the event loop, Kafka, Redis, the disk and the clocks. `make sim SEED=17` plays one seed again, exactly, and shows it.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sim.plan import FaultKind, plan_of
from tests.sim.planted import PLANTED, Plant
from tests.sim.verdict import buried_afterwards, judge, judge_plan

SEEDS = int(os.environ.get("CARDWATCH_SIM_SEEDS", "1000"))
_BLOCK = 100
# A planted bug must show within so many seeds.
_FOUND_WITHIN = 400

pytestmark = [
    pytest.mark.slow, pytest.mark.compiled, pytest.mark.timeout(900),
    # A process that dies leaves coroutines behind that nobody ever awaits.
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of simulated failures would fill the log."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("first", range(0, SEEDS, _BLOCK))
def test_whatever_dies_nothing_is_lost_and_nothing_is_done_twice(first: int) -> None:
    """One decision a payment, the state of an undisturbed run, one effect for each FREEZE that stands, no other."""
    wrong = {seed: complaints for seed in range(first, min(first + _BLOCK, SEEDS)) if (complaints := judge(seed))}
    assert not wrong, f"play them again with make sim SEED={min(wrong)}"


@pytest.mark.parametrize("plant", PLANTED, ids=[plant.__name__ for plant in PLANTED])
def test_a_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each mistake that somebody could make shows in some seed; so the seeds that find nothing say something."""
    plant(monkeypatch)
    assert any(judge(seed) for seed in range(_FOUND_WITHIN)), plant.__doc__


def test_a_seed_is_played_again_exactly() -> None:
    """Another process, whose sets and dictionaries are in another order, sees the same history."""
    seed = next(seed for seed in range(100) if any(fault.kind is FaultKind.ZOMBIE for fault in plan_of(seed).faults))
    with buried_afterwards():
        story, _ = judge_plan(plan_of(seed))
        history = story.world.history
        del story
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.sim", str(seed)],
        env=os.environ | {"PYTHONHASHSEED": "7"}, cwd=Path(__file__).parents[2],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[1:-1] == history
    assert len(history) > 10
