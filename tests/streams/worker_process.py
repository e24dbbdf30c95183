"""A score worker with the stand-in engine as a process of its own, so that it can be killed."""

from __future__ import annotations

import json
import sys

from prometheus_client import CollectorRegistry

from streams.app import Role, run_worker
from streams.score import score_role
from streams.settings import StreamSettings
from tests.streams.stand_in import KEY, StandInCore


def main() -> None:
    """Take the settings as JSON from the command line."""
    settings = StreamSettings(fingerprint_key=KEY, **json.loads(sys.argv[1]))

    def roles() -> list[Role]:
        return [score_role(StandInCore(), settings, CollectorRegistry())]

    run_worker(roles)


if __name__ == "__main__":
    main()
