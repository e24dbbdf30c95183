"""Play seeds: `python -m tests.sim 17` shows the history of one, `python -m tests.sim 0 --count 1000` plays many."""

from __future__ import annotations

import argparse
import logging
import sys
import time

from tests.sim.plan import plan_of
from tests.sim.verdict import buried_afterwards, judge, judge_plan


def _shown(seed: int) -> list[str]:
    """Play one seed and print what happened."""
    with buried_afterwards():
        story, complaints = judge_plan(plan_of(seed))
        print(plan_of(seed), *story.world.history, sep="\n")
        del story
    return complaints


def main() -> int:
    """Play; the exit code says whether anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("seed", type=int, help="the first seed")
    parser.add_argument("--count", type=int, default=1, help="how many seeds to play")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL if arguments.count > 1 else logging.NOTSET)
    failed = 0
    started_s = time.monotonic()
    for seed in range(arguments.seed, arguments.seed + arguments.count):
        complaints = _shown(seed) if arguments.count == 1 else judge(seed)
        failed += bool(complaints)
        for text in complaints[:6]:
            print(f"seed {seed}: {text}", flush=True)
    print(f"{arguments.count} seeds, {failed} failed, {time.monotonic() - started_s:.1f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
