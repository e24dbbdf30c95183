"""A score worker with the real engine, whose payments soon wait for labels on disk, as a process of its own."""

from __future__ import annotations

import json
import sys

from prometheus_client import CollectorRegistry

from detector.catalogue import DAY_MS
from detector.rates import RateTable
from detector.state import EngineState, StateConfig
from streams.app import Role, run_worker
from streams.metrics import StreamMetrics
from streams.score import ScoreRole
from streams.segment_files import SegmentFiles
from streams.settings import StreamSettings
from tests.streams.engine_roles import core_of, section
from tests.streams.stand_in import KEY

# In memory is room for 64 payments a partition; nothing matures, and the models get no payment without a label.
CONFIG = StateConfig(
    KEY, cards=200, events=64_000, payments=64, entities=2_000, buckets=160_000, kept=8_192, maturity_ms=120 * DAY_MS,
    unlabelled_one_in=1 << 40,
)  # fmt: skip


def main() -> None:
    """Take the settings as JSON from the command line."""
    settings = StreamSettings(fingerprint_key=KEY, **json.loads(sys.argv[1]))

    def roles() -> list[Role]:
        rates = RateTable.from_mapping(section("rates.toml"))
        state = EngineState(CONFIG, rates, SegmentFiles(settings.checkpoint_url))
        return [ScoreRole(core_of(state), settings, StreamMetrics(CollectorRegistry()))]

    run_worker(roles)


if __name__ == "__main__":
    main()
