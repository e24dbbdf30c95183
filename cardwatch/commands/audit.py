"""`cardwatch audit`: does Redis hold what the topics tell? Reads both sides whole, changes nothing."""

from __future__ import annotations

import argparse
import asyncio
from functools import partial

import msgspec

from cardwatch.commands.common import layers_of
from cardwatch.commands.store import topics_and_store
from cardwatch.errors import EXIT_FAILED, EXIT_OK
from cardwatch.services import connected
from casework.adapters.redis_restore import RestorableRedisStore
from casework.playbook import Playbook
from streams.audit import AuditReport, audit
from streams.clock import epoch_ms
from streams.settings import StreamSettings
from streams.topic_tail import read_since


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `cardwatch audit`."""
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")


def run(args: argparse.Namespace) -> int:
    """Compare and print.

    Returns:
        0 if nothing differs, else 1.

    Raises:
        CardwatchError: settings are wrong, or Kafka or Redis does not answer.
    """
    settings = connected(layers_of(args))

    async def compare(store: RestorableRedisStore, streams: StreamSettings, playbook: Playbook) -> AuditReport:
        memories_ms = (playbook.outcome_memory_ms, playbook.closed_case_memory_ms)
        return await audit(store, partial(read_since, streams), memories_ms, epoch_ms)

    report = asyncio.run(topics_and_store(settings, compare))
    if args.json:
        print(msgspec.json.encode(report).decode())
    else:
        _show(report)
    return EXIT_FAILED if report.differences or report.fenced_shards else EXIT_OK


def _show(report: AuditReport) -> None:
    for difference in report.differences:
        print(f"{difference.kind:12} card {difference.card_token}: {difference.detail}")
    if report.fenced_shards:
        print(f"fenced       shards {report.fenced_shards} take no writes until a respond worker has reconciled them")
    told = ", ".join(f"{count:,} of {topic}" for topic, count in sorted(report.records.items())) or "none"
    print(f"records: {told}")
    print(f"{report.cards:,} cards and {report.cases:,} cases in Redis, {len(report.differences):,} differences")
