"""`cardwatch breaker`: which policies' freezes are held for people, and letting them through again."""

from __future__ import annotations

import argparse
import asyncio
from datetime import UTC, datetime

from cardwatch.commands.common import add_who_and_why, layers_of
from cardwatch.commands.store import with_desk
from cardwatch.errors import EXIT_OK, SettingsError
from cardwatch.services import connected
from casework.breaker import Breaker
from casework.desk import Desk
from streams.clock import epoch_ms


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `cardwatch breaker`."""
    what = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    what.add_parser("list", help="the breakers, one for each version of the policy that ever froze a card")
    release = what.add_parser("release", help="let a policy's freezes through again; told to cardwatch.audit.v1")
    release.add_argument("policy", help="the policy's version")
    add_who_and_why(release)


def run(args: argparse.Namespace) -> int:
    """Run `cardwatch breaker`.

    Raises:
        CardwatchError: settings are wrong, Redis does not answer, or no such breaker is known.
    """
    settings = connected(layers_of(args), kafka=False)

    async def act(desk: Desk) -> list[Breaker]:
        known = await desk.breakers()
        if args.what == "list":
            return known
        if args.policy not in {breaker.policy_version for breaker in known}:
            names = ", ".join(breaker.policy_version for breaker in known) or "none yet"
            message = f"{args.policy}: no breaker of this policy is known; there are {names}"
            raise SettingsError(message)
        return [await desk.release_breaker(args.policy, args.reason, args.actor, now_ms=epoch_ms())]

    for breaker in asyncio.run(with_desk(settings, act)):
        since = datetime.fromtimestamp(breaker.changed_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        story = f"  since {since}, by {breaker.actor}: {breaker.reason}" if breaker.changed_ms else ""
        print(f"{breaker.policy_version:24} {breaker.state:7}{story}")
    return EXIT_OK
