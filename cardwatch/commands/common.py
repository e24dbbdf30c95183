"""What commands share: settings out of flags, logging, and who acts why."""

from __future__ import annotations

import argparse
import getpass
import os
from pathlib import Path

from api.card_numbers import contains_card_number
from cardwatch.services import CONFIG_VARIABLE, Layers
from cardwatch.settings import Settings, Tree
from telemetry.logs import configure


def layers_of(args: argparse.Namespace) -> Layers:
    """The layers of settings that a command line gives."""
    flags: Tree = {}
    if args.data_dir is not None:
        flags["data"] = {"directory": str(args.data_dir)}
    if args.broker is not None:
        flags["kafka"] = {"bootstrap_servers": args.broker}
    if args.redis is not None:
        flags["redis"] = {"url": args.redis}
    config = args.config
    if config is None and os.environ.get(CONFIG_VARIABLE):
        config = Path(os.environ[CONFIG_VARIABLE])
    return Layers(config, flags)


def add_who_and_why(parser: argparse.ArgumentParser) -> None:
    """Declare what the audit is told of an operator's act: `--reason` and `--actor`."""
    parser.add_argument(
        "--reason", type=plain_words, required=True, help="why, in your words, for the audit; no card numbers"
    )
    parser.add_argument(
        "--actor", type=plain_words, default=getpass.getuser(), help="who you are (default: %(default)s)"
    )


def plain_words(text: str) -> str:
    """Words that may be kept.

    Raises:
        ArgumentTypeError: a card number is in them; it is not repeated.
    """
    if contains_card_number(text):
        message = "a card number is in it; say it without"
        raise argparse.ArgumentTypeError(message)
    return text


def log_to_stderr(settings: Settings) -> None:
    """Write logs to stderr in UTC, of the configured level and above, as JSON outside a terminal."""
    configure(settings.logging.level, settings.logging.format)
