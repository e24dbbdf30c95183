"""`cardwatch webhooks`: what systems were told of cases and cards, and telling them again."""

from __future__ import annotations

import argparse
import asyncio
import sys
import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import TypeVar
from urllib.parse import urlsplit

from cardwatch import wiring
from cardwatch.commands.common import add_who_and_why, layers_of
from cardwatch.commands.store import told
from cardwatch.errors import EXIT_OK, CardwatchError, SettingsError
from cardwatch.services import connected
from cardwatch.settings import Settings
from casework.authority import Person, Role
from casework.errors import NothingWaitsError, ReplayUnderWayError
from casework.replays import ReplayOf, ReplayState
from casework.webhook_book import Asked, ReplayView, WebhookBook
from casework.webhook_log import WebhookLog
from casework.webhooks import Answer, Endpoint, trial_webhook
from streams.clock import epoch_ms
from streams.webhooks import post_once

_LOOK_EVERY_S = 0.5
# A worker that tells endpoints looks for orders every two seconds.
_TAKEN_WITHIN_MS = 10_000

_Result = TypeVar("_Result")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `cardwatch webhooks`."""
    what = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    what.add_parser("list", help="the endpoints, and how it goes with each")
    show = what.add_parser("show", help="what an endpoint was told last")
    show.add_argument("endpoint", metavar="NAME")
    show.add_argument("--count", type=int, default=20, help="so many lines (default: %(default)s)")
    test = what.add_parser("test", help="send an event that tells nothing, from here")
    test.add_argument("endpoint", metavar="NAME")
    again = what.add_parser("replay", help="have an endpoint told again, with the same ids; what it knows it drops")
    chosen = again.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--untold", action="store_true", help="what it refused, or was not told in time")
    chosen.add_argument("--since", type=_moment, metavar="TIME", help="what happened from then on: 2026-11-27T10:00Z")
    again.add_argument("--before", type=_moment, metavar="TIME", help="with --since: and before then")
    cancel = what.add_parser("cancel", help="end a replay; what was told stays told")
    enable = what.add_parser("enable", help="tell an endpoint again that was disabled")
    for act in (again, cancel, enable):
        act.add_argument("endpoint", metavar="NAME")
        add_who_and_why(act)


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
        CardwatchError: settings are wrong, there is no such endpoint, Redis does not answer, or the endpoint does not
            take it.
    """
    settings = connected(layers_of(args), kafka=False, redis=args.what != "test")
    with told():
        if args.what == "list":
            asyncio.run(_with_log(settings, lambda log: _list(settings, log)))
            return EXIT_OK
        endpoint = _named(settings, args.endpoint)
        if args.what == "show":
            asyncio.run(_with_log(settings, lambda log: _show(endpoint, log, args.count)))
        elif args.what == "test":
            asyncio.run(_test(settings, endpoint))
        else:
            asyncio.run(_with_book(settings, lambda book: _ACTS[args.what](book, endpoint.name, args)))
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


async def _with_book(settings: Settings, work: Callable[[WebhookBook], Awaitable[None]]) -> None:
    """Do something about endpoints as people do it over HTTP: it is told to the audit before it is done."""
    store, log, replays = wiring.redis_store(settings), wiring.webhook_log(settings), wiring.replays(settings)
    try:
        await store.open(create=False)
        endpoints, authority = wiring.configured_endpoints(settings), wiring.authority(settings)
        await work(WebhookBook(endpoints, log, replays, store, authority))
    finally:
        await replays.close()
        await log.close()
        await store.close()


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
    event = trial_webhook(f"test-{uuid.uuid4().hex}", epoch_ms())
    poster = wiring.endpoint_poster(settings, endpoint)
    try:
        answer, detail = await post_once(endpoint, poster, event, epoch_ms())
    finally:
        await poster.close()
    if answer is not Answer.DELIVERED:
        message = f"{endpoint.name}: {answer.value}, {detail}"
        raise CardwatchError(message)
    print(f"{endpoint.name}: {answer.value}, {detail}, as {event.webhook_id}")


def _operator(args: argparse.Namespace) -> Person:
    return Person(args.actor, Role.SRE)


async def _enable(book: WebhookBook, name: str, args: argparse.Namespace) -> None:
    await book.enable(name, _operator(args), args.reason, epoch_ms())
    print(f"{name}: is told again within seconds, first what has waited")


async def _cancel(book: WebhookBook, name: str, args: argparse.Namespace) -> None:
    """End a replay.

    Raises:
        CardwatchError: none is under way.
    """
    try:
        view = await book.cancel(name, _operator(args), args.reason, epoch_ms())
    except NothingWaitsError as error:
        message = f"{name}: no replay is under way"
        raise CardwatchError(message) from error
    print(f"{name}: cancelled after {_counts(view)}")


async def _replay(book: WebhookBook, name: str, args: argparse.Namespace) -> None:
    """Order it, and show how it goes until it is over; the order stands also where nobody looks on.

    Raises:
        CardwatchError: another replay is under way, the endpoint was away before the end of this one, or somebody
            cancelled it.
    """
    if args.untold and args.before:
        message = "--before: only with --since"
        raise SettingsError(message)
    of = ReplayOf.UNTOLD if args.untold else ReplayOf.SPAN
    asked = Asked(of, args.reason, since_ms=args.since or 0, before_ms=args.before)
    began_ms = epoch_ms()
    try:
        view = await book.order(name, asked, _operator(args), began_ms, f"replay-{uuid.uuid4().hex}")
    except ReplayUnderWayError as error:
        message = f"{name}: is being told again already; `cardwatch webhooks cancel {name}` ends that"
        raise CardwatchError(message) from error
    print(f"{name}: ordered; `cardwatch webhooks cancel {name}` ends it", file=sys.stderr)
    replay_id, said = view.progress.replay.replay_id, ""
    while not view.is_over:
        await asyncio.sleep(_LOOK_EVERY_S)
        found = await book.replay(name)
        if found is None or found.progress.replay.replay_id != replay_id:
            break  # It is over, and another one was begun.
        view, before = found, said
        said = _counts(view)
        if view.state is ReplayState.WAITING and epoch_ms() - began_ms > _TAKEN_WITHIN_MS:
            said = "waits for a process that tells endpoints: cardwatch worker --roles notify"
        if said != before and not view.is_over:
            print(f"{name}: {said}", file=sys.stderr)
    if view.state is ReplayState.STOPPED:
        message = f"{name}: {view.progress.stopped_by}; what comes behind was not told, do it again later"
        raise CardwatchError(message)
    if view.state is ReplayState.CANCELLED:
        message = f"{name}: cancelled by {view.progress.cancelled_by} after {_counts(view)}"
        raise CardwatchError(message)
    print(f"{name}: {_counts(view)}")


def _counts(view: ReplayView) -> str:
    done = view.progress
    more = f", {done.missing} no longer to be told" if done.missing else ""
    return f"{done.told} told, {done.refused} refused{more}"


_ACTS: Mapping[str, Callable[[WebhookBook, str, argparse.Namespace], Awaitable[None]]] = {
    "enable": _enable,
    "replay": _replay,
    "cancel": _cancel,
}


def _text(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
