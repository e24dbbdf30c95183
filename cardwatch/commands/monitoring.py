"""`cardwatch monitoring`: rules for Prometheus, made from objectives."""

from __future__ import annotations

import argparse
from pathlib import Path

from cardwatch.errors import EXIT_OK, ServiceError
from cardwatch.monitoring.objectives import read_promises
from cardwatch.monitoring.rules import rule_files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `cardwatch monitoring`."""
    parser.add_argument("--objectives", type=Path, metavar="FILE", help="instead of configs/objectives.toml")
    parser.add_argument(
        "--out", type=Path, default=Path("configs/prometheus"), metavar="DIR", help="where to (default %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the files of rules.

    Raises:
        SettingsError: something in the objectives is wrong.
        ServiceError: the files cannot be written.
    """
    files = rule_files(read_promises(args.objectives))
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (args.out / name).write_text(text, encoding="utf-8")
            print(args.out / name)
    except OSError as error:
        message = f"{args.out} cannot be written to ({error.strerror})"
        raise ServiceError(message) from error
    return EXIT_OK
