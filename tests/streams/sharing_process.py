"""A score worker with the real engine, one of several that tell each other of shared entities, as a process."""

from __future__ import annotations

import json
import sys

from prometheus_client import CollectorRegistry

from detector.rates import RateTable
from detector.state import EngineState, StateConfig
from streams.app import Role, run_worker
from streams.metrics import StreamMetrics
from streams.score import ScoreRole
from streams.settings import StreamSettings
from tests.streams.engine_roles import core_of, section
from tests.streams.stand_in import KEY

CONFIG = StateConfig(KEY, cards=200, events=64_000, payments=8_000, entities=2_000, buckets=160_000)


def new_state() -> EngineState:
    """A worker's state."""
    return EngineState(CONFIG, RateTable.from_mapping(section("rates.toml")))


def sharing_role(state: EngineState, settings: StreamSettings, registry: CollectorRegistry) -> ScoreRole:
    """A worker on a state."""
    return ScoreRole(core_of(state), settings, StreamMetrics(registry))


def main() -> None:
    """Take the settings as JSON from the command line."""
    settings = StreamSettings(fingerprint_key=KEY, **json.loads(sys.argv[1]))

    def roles() -> list[Role]:
        return [sharing_role(new_state(), settings, CollectorRegistry())]

    run_worker(roles)


if __name__ == "__main__":
    main()
