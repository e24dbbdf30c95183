"""A score worker with the stand-in engine, on a clock that may be wrong."""

from __future__ import annotations

import json
import sys

from prometheus_client import CollectorRegistry

from streams.app import Role, run_worker
from streams.clock import epoch_ms
from streams.metrics import StreamMetrics
from streams.score import ScoreRole
from streams.settings import StreamSettings
from tests.streams.stand_in import KEY, StandInCore


def main() -> None:
    """Take settings and the error of the clock as JSON from the command line."""
    known = json.loads(sys.argv[1])
    settings = StreamSettings(fingerprint_key=KEY, **known["settings"])
    skew_ms = int(known["skew_ms"])

    def roles() -> list[Role]:
        metrics = StreamMetrics(CollectorRegistry())
        return [ScoreRole(StandInCore(), settings, metrics, lambda: epoch_ms() + skew_ms)]

    run_worker(roles)


if __name__ == "__main__":
    main()
