"""`python -m benchmarks [NAME ...]`: measure, and write the tables of docs/benchmarks.md and docs/detection.md."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from benchmarks.options import Options
from benchmarks.results import PAGE

_NAMES = (
    "engine", "replay", "checkpoints", "failover", "end_to_end", "workers", "start", "latency", "waiting", "kept",
    "quality", "worlds", "models", "selective", "poisoning", "contest", "drift", "watching", "alerts", "desk", "growth",
)  # fmt: skip
_RECORDS = 1_000_000


def main() -> int:
    """Run the benchmarks that are named, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of {', '.join(_NAMES)}; all by default")
    parser.add_argument("--list", action="store_true", help="say what there is")
    parser.add_argument("--records", type=int, default=_RECORDS, help="payments that are played (default %(default)s)")
    parser.add_argument("--handbook", type=Path, metavar="FILE", help="the handbook's transactions, to replay as well")
    parser.add_argument("--peer-seconds", type=float, default=25.0, help="time for each peer (default %(default)s)")
    parser.add_argument("--no-headers", action="store_true", help="payments without CloudEvents headers")
    parser.add_argument("--no-peers", action="store_true", help="quality and worlds without their peers")
    args = parser.parse_args()
    unknown = [name for name in args.names if name not in _NAMES]
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(_NAMES)}")
    if args.records < 10_000:
        parser.error("--records must be at least 10,000: less measures nothing")
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in args.names or _NAMES}
    if args.list:
        for name, module in modules.items():
            print(f"{name:12} {module.PURPOSE}")
        return 0
    options = Options(
        args.records, args.handbook, args.peer_seconds, with_headers=not args.no_headers, with_peers=not args.no_peers
    )
    for name, module in modules.items():
        options.say(f"{name}: {module.PURPOSE}")
        module.run(options)
    options.say(f"written into the pages of {PAGE.parent.name}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
