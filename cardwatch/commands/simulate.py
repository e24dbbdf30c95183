"""`cardwatch simulate`: the simulator's own command; without --out and --broker it plays into the configured Kafka."""

from __future__ import annotations

import argparse
from pathlib import Path

from cardwatch.commands.common import layers_of
from cardwatch.services import connected
from cardwatch.simulator import cli


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `cardwatch simulate`."""
    cli.add_arguments(parser)
    group = parser.add_argument_group("settings", "for Kafka; all of them: configs/cardwatch.toml")
    group.add_argument("--config", type=Path, metavar="FILE", help="settings on top of the shipped ones (TOML)")
    group.add_argument("--data-dir", type=Path, metavar="DIR", help="of the demo to play into (default .cardwatch)")


def run(args: argparse.Namespace) -> int:
    """Run `cardwatch simulate`.

    Returns:
        The exit code.

    Raises:
        CardwatchError: a setting is wrong, or there is no Kafka to play into.
    """
    if args.out is not None:
        return cli.run(args)
    args.redis = None
    kafka = connected(layers_of(args), redis=False).kafka
    args.broker = kafka.bootstrap_servers
    return cli.run(args, kafka.client_options())
