"""`cardwatch metrics NAME ...`: what running processes show, without a Prometheus at hand."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from cardwatch.commands.common import layers_of
from cardwatch.embedded import DataDirectory
from cardwatch.errors import EXIT_FAILED, EXIT_OK, SettingsError
from cardwatch.metrics import endpoints, read_metrics
from telemetry.catalogue import CATALOGUE

# Who asks once can wait for a busy process.
_TIMEOUT_S = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `cardwatch metrics`."""
    parser.add_argument("names", nargs="+", metavar="NAME", help="beginnings of names, with or without cardwatch_")
    parser.add_argument(
        "--url", action="append", default=[], metavar="URL", help="of a process elsewhere; may be given several times"
    )


def run(args: argparse.Namespace) -> int:
    """Print the samples that were asked for.

    Returns:
        0, or 1 if a process does not answer.

    Raises:
        SettingsError: a setting is wrong, or no metric's name begins so.
    """
    settings = layers_of(args).load()
    wanted = tuple(name if name.startswith("cardwatch_") else f"cardwatch_{name}" for name in args.names)
    for name in wanted:
        if not any(known.startswith(name) for known in CATALOGUE):
            message = f"{name}: no metric begins so; docs/metrics.md lists them"
            raise SettingsError(message)
    urls = {url: url for url in args.url} or endpoints(DataDirectory(settings.data.directory), settings)
    silent = False
    for process, url in urls.items():
        reading = read_metrics(url, _TIMEOUT_S)
        if not reading.samples:
            print(f"{process}: does not answer at {url}")
            silent = True
        for name, labels, value in reading.samples:
            if name.startswith(wanted):
                print(f"{process}: {name}{_braces(labels)} {value:.10g}")
    return EXIT_FAILED if silent else EXIT_OK


def _braces(labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{name}="{value}"' for name, value in sorted(labels.items()))
    return f"{{{inside}}}" if inside else ""
