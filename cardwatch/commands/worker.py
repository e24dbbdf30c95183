"""`cardwatch worker --roles score,respond,learn,history,notify`: the stream processors, a process for each role."""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from cardwatch.commands.common import layers_of, log_to_stderr
from cardwatch.embedded import DataDirectory, module_command
from cardwatch.errors import EXIT_OK, SettingsError
from cardwatch.services import Layers, connected
from cardwatch.supervisor import ProcessSpec, Supervisor

ROLES = ("score", "respond", "learn", "history", "notify")
_WATCH_INTERVAL_S = 0.5
_STOP_WITHIN_S = 20.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `cardwatch worker`."""
    parser.add_argument(
        "--roles", default=",".join(ROLES), help="which of %(default)s; a process for each if more than one"
    )


def run(args: argparse.Namespace) -> int:
    """Work until SIGTERM or Ctrl-C.

    Raises:
        CardwatchError: a setting is wrong, or a role ended that should have gone on.
    """
    roles = _roles(args.roles)
    layers = layers_of(args)
    settings = connected(layers, kafka=True, redis=bool({"respond", "notify"} & set(roles)))
    if len(roles) > 1:
        _supervise(roles, layers, DataDirectory(settings.data.directory))
        return EXIT_OK
    log_to_stderr(settings)
    # Only a process with a role of its own needs Numba.
    from cardwatch.roles import run_role  # noqa: PLC0415

    run_role(roles[0], settings)
    return EXIT_OK


def _roles(text: str) -> list[str]:
    """The roles of --roles, each once.

    Raises:
        SettingsError: one is unknown, or there is none.
    """
    roles = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [role for role in roles if role not in ROLES]
    if unknown or not roles:
        message = f"--roles: {', '.join(unknown) or 'nothing'} is no role; there are {', '.join(ROLES)}"
        raise SettingsError(message)
    return roles


def _supervise(roles: list[str], layers: Layers, data: DataDirectory) -> None:
    """Run a process for each role, until a signal comes.

    Raises:
        RestartLimitError: one keeps ending.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    supervisor = Supervisor(data.logs, say=lambda text: print(text, file=sys.stderr, flush=True))
    try:
        supervisor.start(
            *(
                ProcessSpec(
                    role,
                    module_command("cardwatch", "worker", "--roles", role),
                    environment=layers.environment(),
                    stop_within_s=_STOP_WITHIN_S,
                )
                for role in roles
            )
        )
        for role in roles:
            print(f"{role}: its log is {supervisor.log_path(role)}", file=sys.stderr, flush=True)
        while not stop.wait(_WATCH_INTERVAL_S):
            supervisor.watch()
    finally:
        supervisor.stop()
