"""`cardwatch`: the command line.

Exit codes: 0 done; 1 not done (a check or a step failed); 2 a flag or setting is wrong, nothing was started; 3 a
broker, Redis or process cannot be started or reached; 130 ended by Ctrl-C before it was done.

Only the chosen command's module is imported, so `cardwatch --help` answers at once.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cardwatch.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, CardwatchError

_EXIT_CODES = (
    "exit codes: 0 done; 1 not done; 2 a flag or setting is wrong, nothing was started; 3 a broker, Redis or process "
    "cannot be started or reached; 130 ended by Ctrl-C"
)


@dataclass(frozen=True, slots=True)
class Command:
    """A command: what it is for, the module behind it, and whether it takes the flags that settings have."""

    purpose: str
    module: str
    takes_settings: bool = True


COMMANDS = {
    "demo": Command("run everything on this machine and watch an attack being caught", "cardwatch.commands.demo"),
    "worker": Command("score, respond, learn and remember: the stream processors", "cardwatch.commands.worker"),
    "api": Command("the HTTP service and the agents' console", "cardwatch.commands.api"),
    "simulate": Command("make payments of a simulated world", "cardwatch.commands.simulate", takes_settings=False),
    "trigger": Command("play one attack into a running system", "cardwatch.commands.trigger"),
    "replay": Command("run the engine over a file of past payments", "cardwatch.replay", takes_settings=False),
    "backtest": Command(
        "a changed policy or models against the current ones, on past payments",
        "cardwatch.backtest",
        takes_settings=False,
    ),
    "doctor": Command("check settings, ports, Kafka, Redis and clocks", "cardwatch.commands.doctor"),
    "topics": Command("list or create the Kafka topics", "cardwatch.commands.topics"),
    "models": Command("list, show, promote and roll back versions of the models", "cardwatch.commands.models"),
    "audit": Command("compare Redis with what the topics tell", "cardwatch.commands.audit"),
    "rebuild": Command("build Redis anew from Kafka", "cardwatch.commands.rebuild"),
    "dlq": Command("list, show, retry and drop dead letters", "cardwatch.commands.dlq"),
    "webhooks": Command(
        "what systems were told of cases and cards, and telling them again", "cardwatch.commands.webhooks"
    ),
    "breaker": Command("list the circuit breakers for freezes, and release one", "cardwatch.commands.breaker"),
    "top": Command("the golden signals of a running system, in the terminal", "cardwatch.commands.top"),
    "metrics": Command("print metrics of running processes", "cardwatch.commands.metrics"),
    "monitoring": Command(
        "make Prometheus' rules from objectives", "cardwatch.commands.monitoring", takes_settings=False
    ),
    "warm": Command("compile the kernels and train the demo's first model", "cardwatch.commands.warm"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        arguments: without the program's name; those of this process by default.

    Returns:
        The exit code.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    chosen = next((word for word in words if not word.startswith("-")), None)
    try:
        parser = _parser(chosen)
        args = parser.parse_args(words)
        if args.command is None:
            parser.print_help()
            return EXIT_OK
        return int(importlib.import_module(COMMANDS[args.command].module).run(args))
    except CardwatchError as error:
        for line in str(error).splitlines():
            print(f"cardwatch {chosen}: {line}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone, as in `cardwatch topics | head -1`; nothing more can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED


def _parser(chosen: str | None) -> argparse.ArgumentParser:
    """The parser, with the arguments of the chosen command only."""
    parser = argparse.ArgumentParser(
        prog="cardwatch", description="Real-time card-fraud and anomaly detection on Kafka.", epilog=_EXIT_CODES
    )
    parser.add_argument("--version", action=_Version, help="say the version and end")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, command in COMMANDS.items():
        sub = commands.add_parser(name, help=command.purpose, description=command.purpose, epilog=_EXIT_CODES)
        if name == chosen:
            if command.takes_settings:
                _add_setting_flags(sub)
            importlib.import_module(command.module).add_arguments(sub)
    return parser


def _add_setting_flags(parser: argparse.ArgumentParser) -> None:
    """Flags that stand for settings; `layers_of` reads them."""
    group = parser.add_argument_group("settings", "all of them: configs/cardwatch.toml")
    group.add_argument("--config", type=Path, metavar="FILE", help="settings on top of the shipped ones (TOML)")
    group.add_argument("--data-dir", type=Path, metavar="DIR", help="where cardwatch writes (default .cardwatch)")
    group.add_argument("--broker", metavar="HOST:PORT", help="a Kafka broker instead of the embedded one")
    group.add_argument("--redis", metavar="URL", help="a Redis instead of the embedded one: redis://host:6379/0")


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __init__(self, option_strings: list[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_details: Any) -> None:
        from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415  only --version needs it

        try:
            print(f"cardwatch {version('cardwatch')}")
        except PackageNotFoundError:
            print("cardwatch, a checkout that is not installed")
        parser.exit()
