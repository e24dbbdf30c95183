"""`cardwatch webhooks`: what systems were told of cases and cards, and telling them again."""

from __future__ import annotations

import argparse
import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar
from urllib.parse import urlsplit

from cardwatch import wiring
from cardwatch.commands.common import layers_of, now_ms
from cardwatch.commands.store import told
from cardwatch.errors import EXIT_OK, CardwatchError, SettingsError
from cardwatch.roles import stream_settings
from cardwatch.services import connected
from cardwatch.settings import Settings
from casework.adapters.posting import Poster
from casework.replays import Replay, ReplayOf
from casework.webhook_log import WebhookLog
from casework.webhooks import TOLD_TOPICS, Answer, Endpoint, trial_webhook
from streams.topic_tail import read_since
from streams.webhook_replay import in_batches, meant_by, replay
from streams.webhooks import post_once

_Result = TypeVar("_Result")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `cardwatch webhooks`."""
    what = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    what.add_parser("list", help="the endpoints, and how it goes with each")
    show = what.add_parser("show", help="what an endpoint was told last")
    show.add_argument("endpoint", metavar="NAME")
    show.add_argument("--count", type=int, default=20, help="so many lines (default: %(default)s)")
    again = what.add_parser("replay", help="tell an endpoint again, with the same ids; what it knows it drops")
    again.add_argument("endpoint", metavar="NAME")
    chosen = again.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--untold", action="store_true", help="what it refused, or was not told in time")
    chosen.add_argument("--since", type=_moment, metavar="TIME", help="what happened from then on: 2026-11-27T10:00Z")
    again.add_argument("--before", type=_moment, metavar="TIME", help="with --since: and before then")
    for name, meaning in (
        ("test", "send an event that tells nothing"),
        ("enable", "tell an endpoint again that was disabled"),
    ):
        what.add_parser(name, help=meaning).add_argument("endpoint", metavar="NAME")


def _moment(text: str) -> int:
    """A time as UTC epoch milliseconds.

    Raises:
        ArgumentTypeError: it is none, or says no time zone.
    """
    message = "right is a time with its zone, such as 2026-11-27T10:00Z"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(message) from None
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError(message)
    return round(moment.timestamp() * 1000)


def run(args: argparse.Namespace) -> int:
    """Run `cardwatch webhooks`.

    Raises:
        CardwatchError: settings are wrong, there is no such endpoint, Redis or Kafka do not answer, or the endpoint
            does not take it.
    """
    settings = connected(layers_of(args), kafka=args.what == "replay", redis=args.what != "test")
    with told():
        if args.what == "list":
            asyncio.run(_with_log(settings, lambda log: _list(settings, log)))
            return EXIT_OK
        endpoint = _named(settings, args.endpoint)
        if args.what == "show":
            asyncio.run(_with_log(settings, lambda log: _show(endpoint, log, args.count)))
        elif args.what == "enable":
            asyncio.run(_with_log(settings, lambda log: log.enable(endpoint.name)))
            print(f"{endpoint.name}: is told again within seconds, first what has waited")
        elif args.what == "test":
            asyncio.run(_test(settings, endpoint))
        else:
            asyncio.run(_with_log(settings, lambda log: _replay(settings, endpoint, log, args)))
    return EXIT_OK


def _named(settings: Settings, name: str) -> Endpoint:
    """The endpoint of this name."""
    found = {endpoint.name: endpoint for endpoint in wiring.endpoints(settings)}
    if name not in found:
        names = ", ".join(found) or "none"
        message = f"there is no active endpoint of this name in [webhooks.endpoints]; there are {names}"
        raise SettingsError(message)
    return found[name]


async def _with_log(settings: Settings, work: Callable[[WebhookLog], Awaitable[_Result]]) -> _Result:
    log = wiring.webhook_log(settings)
    try:
        return await work(log)
    finally:
        await log.close()


async def _with_poster(settings: Settings, endpoint: Endpoint, work: Callable[[Poster], Awaitable[_Result]]) -> _Result:
    poster = wiring.endpoint_poster(settings, endpoint)
    try:
        return await work(poster)
    finally:
        await poster.close()


async def _list(settings: Settings, log: WebhookLog) -> None:
    for name, given in settings.webhooks.endpoints.items():
        disabled, untold = await log.disabled(name), len(await log.untold(name))
        state = "told" if given.active else "not active"
        if disabled is not None:
            state = f"disabled since {_text(disabled.since_ms)}: {disabled.why}"
        # A path or query may hold what only the two of us shall know.
        host = urlsplit(given.url).netloc
        print(f"{name:16} {host:32} {len(given.events)} patterns  {untold} untold  {state}")
    print(f"{len(settings.webhooks.endpoints)} endpoints")


async def _show(endpoint: Endpoint, log: WebhookLog, count: int) -> None:
    for line in await log.newest(endpoint.name, count):
        place = f"{line.topic}/{line.partition}/{line.offset}"
        said = f"{line.outcome.value} after {line.attempts}: {line.detail}"
        print(f"{_text(line.time_ms)}  {line.webhook_id}  {line.kind:24} {place:28} {said}")


async def _test(settings: Settings, endpoint: Endpoint) -> None:
    """Send a test; it is not written down.

    Raises:
        CardwatchError: the endpoint does not take it.
    """
    event = trial_webhook(f"test-{uuid.uuid4().hex}", now_ms())
    answer, detail = await _with_poster(
        settings, endpoint, lambda poster: post_once(endpoint, poster, event, now_ms())
    )  # fmt: skip
    if answer is not Answer.DELIVERED:
        message = f"{endpoint.name}: {answer.value}, {detail}"
        raise CardwatchError(message)
    print(f"{endpoint.name}: {answer.value}, {detail}, as {event.webhook_id}")


async def _replay(settings: Settings, endpoint: Endpoint, log: WebhookLog, args: argparse.Namespace) -> None:
    """Tell again.

    Raises:
        CardwatchError: the endpoint was away before the end.
    """
    if args.untold and args.before:
        message = "--before: only with --since"
        raise SettingsError(message)
    streams = stream_settings(settings, "cardwatch-webhooks")
    of = ReplayOf.UNTOLD if args.untold else ReplayOf.SPAN
    order = Replay("", of, "", "", now_ms(), since_ms=args.since or 0, before_ms=args.before or 0)
    meant = await meant_by(order, endpoint.name, log)
    batches = in_batches(read_since(streams, TOLD_TOPICS, meant.since_ms), asyncio.to_thread)
    done = await _with_poster(
        settings, endpoint, lambda poster: replay(endpoint, poster, log, batches, meant.is_meant, now_ms)
    )  # fmt: skip
    missing = meant.missing(done)
    more = f", {missing} no longer to be told" if missing else ""
    print(f"{endpoint.name}: {done.told} told, {done.refused} refused{more}")
    if done.stopped_by:
        message = f"{endpoint.name}: {done.stopped_by}; what comes behind was not told, do it again later"
        raise CardwatchError(message)


def _text(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
