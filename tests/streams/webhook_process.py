"""A webhook role as a process of its own, so that it can be killed."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry

from casework.adapters.memory_webhooks import MemoryWebhooks
from casework.adapters.posting import Poster
from casework.webhooks import Endpoint, kinds_of
from streams.app import run_worker
from streams.metrics import StreamMetrics
from streams.settings import StreamSettings
from streams.webhooks import WebhookRole
from tests.casework.examples import NOW_MS
from tests.streams.stand_in import KEY

SECRET = b"s" * 32
GIVE_UP_MS = 72 * 3_600_000
LATER_MS = NOW_MS + 3_600_000


def endpoint(url: str, *patterns: str, name: str = "bank") -> Endpoint:
    """One that wants these kinds, or everything."""
    return Endpoint(name, url, (SECRET,), kinds_of(patterns or ("case.*", "card.*")), may_be_private=True)


def role(told: Endpoint, settings: StreamSettings, **options: Any) -> WebhookRole:
    """The role that tells it, with short pauses, an hour after the story of the tests."""
    given: Mapping[str, Any] = {
        "posting": Poster(told.url, 20.0, may_be_private=True),
        "log": MemoryWebhooks(),
        "give_up_ms": GIVE_UP_MS,
        "metrics": StreamMetrics(CollectorRegistry()),
        "clock": lambda: LATER_MS,
        "pause_of": lambda _failures: 0.1,
    }
    return WebhookRole(told, settings=settings, **{**given, **options})


def main() -> None:
    """Run until a signal comes."""
    known = json.loads(sys.argv[1])
    settings = StreamSettings(**known["settings"], fingerprint_key=KEY)
    run_worker(lambda: [role(endpoint(known["url"]), settings)])


if __name__ == "__main__":
    main()
