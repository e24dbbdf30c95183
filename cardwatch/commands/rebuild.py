"""`cardwatch rebuild`: Redis (cards, cases and what is known of alerts), or the memory of closed cases, from Kafka."""

from __future__ import annotations

import argparse
import asyncio
from datetime import UTC, datetime
from functools import partial

from rich.progress import Progress

from cardwatch import wiring
from cardwatch.commands.common import layers_of
from cardwatch.commands.store import topics_and_store
from cardwatch.errors import EXIT_OK, CardwatchError, ServiceError, SettingsError
from cardwatch.services import connected
from cardwatch.settings import Settings
from cardwatch.stream_settings import stream_settings
from casework.adapters.redis_restore import RestorableRedisStore
from casework.errors import HistoryConflictError, HistoryError
from casework.playbook import Playbook
from streams.clock import epoch_ms
from streams.errors import StreamsError
from streams.history import rebuild as rebuild_history
from streams.reconciliation import EVERYTHING, Reconciler, Report
from streams.settings import StreamSettings
from streams.topic_tail import read_since


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `cardwatch rebuild`."""
    parser.add_argument("what", choices=["redis", "history"], help="what to rebuild")
    parser.add_argument(
        "--wipe", action="store_true", help="remove what Redis holds of cardwatch first; stop respond and api before"
    )


def run(args: argparse.Namespace) -> int:
    """Rebuild, and say up to where.

    Raises:
        CardwatchError: settings are wrong, Redis holds something, or Kafka or Redis does not answer.
    """
    if args.what == "history":
        return _rebuild_history(connected(layers_of(args), redis=False))
    settings = connected(layers_of(args))

    async def rebuild(store: RestorableRedisStore, streams: StreamSettings, playbook: Playbook) -> Report:
        if await store.is_set_up():
            if not args.wipe:
                message = "Redis holds data of cardwatch; `cardwatch audit` compares it with Kafka, --wipe removes it"
                raise SettingsError(message)
            print(f"removed {await store.wipe():,} keys")
        await store.set_up_fenced()
        memories_ms = (playbook.outcome_memory_ms, playbook.closed_case_memory_ms)
        reconciler = Reconciler(
            store, wiring.responding_desk(settings, store), partial(read_since, streams), memories_ms, epoch_ms
        )
        shards = range(store.shards)
        report = await reconciler.bring_up(shards, EVERYTHING)
        report.alerts_again = await reconciler.answer_again(dict.fromkeys(shards, EVERYTHING))
        return report

    report = asyncio.run(topics_and_store(settings, rebuild))
    for topic, count in sorted(report.records.items()):
        newest = f", the newest of {_moment(report.newest_ms[topic])}" if topic in report.newest_ms else ""
        print(f"{topic:28} {count:10,} records{newest}")
    print(f"put back: {report.put_back:,} cards, {report.cases:,} cases")
    print(f"alerts without a trace, handled again: {report.alerts_again:,}")
    if report.newest_ms:
        print(
            f"This is what the outbox had relayed up to {_moment(max(report.newest_ms.values()))}. What a person "
            "commanded and the outbox had not relayed by then is lost; freezes by alerts are not."
        )
    return EXIT_OK


def _rebuild_history(settings: Settings) -> int:
    """Read every event of cases into an empty memory. A history role that runs meanwhile goes on by itself."""
    try:
        memory = wiring.history(settings)
        try:
            memory.open()
            memory.clear()
            with Progress(transient=True) as progress:
                task = progress.add_task("events of cases", total=None)
                events = rebuild_history(
                    memory,
                    stream_settings(settings, "rebuild"),
                    lambda done, whole: progress.update(task, completed=done, total=whole),
                )
        finally:
            memory.close()
    except HistoryConflictError as error:
        message = "a history role has begun to read as well, and goes on; nothing is left to do here"
        raise CardwatchError(message) from error
    except HistoryError as error:
        raise ServiceError(str(error)) from error
    except StreamsError as error:
        raise ServiceError(str(error)) from error
    print(f"{events:,} events of cases are in the memory of closed cases")
    return EXIT_OK


def _moment(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
