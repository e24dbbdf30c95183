"""`cardwatch top`: the golden signals of a running system, where no Grafana is at hand."""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cardwatch.commands.common import layers_of
from cardwatch.embedded import DataDirectory
from cardwatch.errors import EXIT_FAILED, EXIT_OK
from cardwatch.metrics import Reading, endpoints, read_metrics
from cardwatch.signals import Signal, View, processes, signals

_INTERVAL_S = 2.0
_TIMEOUT_S = 3.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `cardwatch top`."""
    parser.add_argument("--once", action="store_true", help="print one view and end; 1 if a process does not answer")
    parser.add_argument("--interval", type=float, default=_INTERVAL_S, metavar="S", help="(default %(default)g)")
    parser.add_argument(
        "--url", action="append", default=[], metavar="URL", help="of a process elsewhere; may be given several times"
    )


def run(args: argparse.Namespace) -> int:
    """Show the signals, until Ctrl-C or once.

    Returns:
        0; with --once 1 if a process does not answer.

    Raises:
        SettingsError: a setting is wrong.
    """
    settings = layers_of(args).load()
    console = Console(highlight=False)

    def read() -> dict[str, Reading]:
        urls = {url: url for url in args.url} or endpoints(DataDirectory(settings.data.directory), settings)
        with ThreadPoolExecutor(max_workers=max(1, len(urls))) as pool:
            return dict(zip(urls, pool.map(partial(read_metrics, timeout_s=_TIMEOUT_S), urls.values()), strict=True))

    before, before_s = read(), time.monotonic()
    if args.once:
        time.sleep(args.interval)
        view = View(read(), before, time.monotonic() - before_s)
        console.print(picture(view))
        return EXIT_OK if all(reading.samples for reading in view.now.values()) else EXIT_FAILED
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            time.sleep(args.interval)
            now, now_s = read(), time.monotonic()
            live.update(picture(View(now, before, now_s - before_s)), refresh=True)
            before, before_s = now, now_s


def picture(view: View) -> Group:
    """The view for a terminal."""
    panels = [_panel("processes", processes(view))]
    panels += [_panel(heading, lines) for heading, lines in signals(view).items()]
    return Group(*panels)


def _panel(heading: str, lines: list[Signal]) -> Panel:
    table = Table.grid(padding=(0, 2))
    table.add_column(min_width=24, style="bold")
    for line in lines:
        table.add_row(line.name, Text(line.value, style="bold yellow" if line.is_doubtful else ""))
    return Panel(table, title=heading, title_align="left")
