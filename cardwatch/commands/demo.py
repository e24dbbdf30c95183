"""`cardwatch demo`: everything on this machine, with a live view, or the whole story unattended."""

from __future__ import annotations

import argparse
import contextlib
import signal
import time
from collections.abc import Iterator
from functools import partial

import httpx
from rich.console import Console
from rich.live import Live

from cardwatch.commands.common import layers_of
from cardwatch.commands.trigger import play
from cardwatch.desk_client import DeskClient
from cardwatch.errors import EXIT_INTERRUPTED, EXIT_OK, SettingsError, StoryError
from cardwatch.live import CaseLine, Meter, picture
from cardwatch.metrics import read_url
from cardwatch.simulator import ATTACK_NAMES, SettingError, WorldSettings
from cardwatch.story import Story
from cardwatch.system import AGENT, ROLES, System, Traffic

_DEFAULT_RATE = 100.0
# The stream begins twelve hours in the past and is played faster until it has caught up. With so many cards that takes
# more than an hour at the default rate; afterwards they pay nine times a second.
_DEFAULT_CARDS = 200_000
_PAYMENTS_PER_CARD_DAY = 4.0
_DEFAULT_TIMEOUT_S = 300.0
_FIRST_ATTACK_S = 10.0
_REFRESH_S = 0.5
_LINE_EVERY_S = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `cardwatch demo`."""
    parser.add_argument(
        "--until-case", action="store_true", help="play the whole story unattended; 0 only if every step happened"
    )
    parser.add_argument(
        "--timeout", type=float, default=_DEFAULT_TIMEOUT_S, metavar="S", help="of --until-case (default %(default)g)"
    )
    parser.add_argument(
        "--rate", type=float, default=_DEFAULT_RATE, metavar="N",
        help="simulated payments a second (default %(default)g; 0 for none, to send your own)",
    )  # fmt: skip
    parser.add_argument(
        "--attack", choices=(*ATTACK_NAMES, "none"), default="stolen_card", metavar="NAME",
        help=f"played after a few seconds: {', '.join(ATTACK_NAMES)} or none (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=WorldSettings().seed, help="chooses the simulated world")
    parser.add_argument("--cards", type=int, default=_DEFAULT_CARDS, help="cards in it (default %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Run the demo until Ctrl-C, or the story until its end.

    Returns:
        0 after a clean end; 130 if Ctrl-C came before the story's end.

    Raises:
        CardwatchError: a setting is wrong, a process cannot be started, or a step did not happen.
    """
    began_s = time.monotonic()
    console = Console(highlight=False)
    # Rich folds lines for a terminal; a file or pipe gets them whole.
    say = partial(console.print, soft_wrap=not console.is_terminal)
    if args.until_case and args.attack == "none":
        message = "--attack none: --until-case needs an attack"
        raise SettingsError(message)
    system = System(layers_of(args), _traffic(args), say=say)
    story = Story(system, args.attack, began_s + args.timeout, say, began_s)
    with _sigterm_as_interrupt():
        try:
            _start(system, story)
            if args.until_case:
                story.tell()
                story.step("done", "every step happened")
            else:
                _watch(system, console, args.attack)
        except KeyboardInterrupt:
            if args.until_case:
                return EXIT_INTERRUPTED
        finally:
            console.print("stopping")
            system.stop()
    return EXIT_OK


def _traffic(args: argparse.Namespace) -> Traffic:
    """What is simulated.

    Raises:
        SettingsError: a value is out of its range.
    """
    if args.rate < 0:
        message = "--rate must be 0 or more"
        raise SettingsError(message)
    try:
        # Attacks are played by name, so the background has none: whatever is frozen is the attack's.
        world = WorldSettings(
            seed=args.seed,
            cards=args.cards,
            payments_per_card_day=_PAYMENTS_PER_CARD_DAY,
            attacks_per_thousand_cards_day=0.0,
        )
    except SettingError as error:
        raise SettingsError(str(error)) from None
    return Traffic(world, args.rate)


def _start(system: System, story: Story) -> None:
    """Start everything, a step after the other.

    Raises:
        ServiceError: something does not start.
    """
    system.start_services()
    kafka = system.settings.kafka
    kind = "the embedded broker" if kafka.embedded else "the broker"
    story.step("services up", f"{kind} at {kafka.bootstrap_servers}, and Redis")
    if kafka.embedded:
        story.say(
            "           (a trial: it keeps the last 5 MiB of each partition, in memory, and forgets all at its end)"
        )
    system.warm()
    story.step("model warm", "trained on a replay of the simulator")
    system.start_workers()
    story.step("workers and API ready", system.api_url)
    system.start_traffic()


def _watch(system: System, console: Console, attack: str) -> None:
    """Show what happens until Ctrl-C; play one attack after a few seconds.

    Raises:
        ServiceError: a process ended for good.
    """
    desk = DeskClient(system.api_url, system.api_keys[AGENT])
    meter = Meter()
    began_s = shown_s = time.monotonic()
    pending = None if attack == "none" else attack
    if not console.is_terminal:
        for name, value in _addresses(system).items():
            console.print(f"{name}: {value}", soft_wrap=True)
    with contextlib.closing(desk), _screen(console) as screen:
        while True:
            system.supervisor.watch()
            now_s = time.monotonic()
            if pending is not None and now_s - began_s >= _FIRST_ATTACK_S:
                count = len(play(system.settings.kafka, system.traffic.world, pending))
                console.print(f"played the attack {pending}: {count} payments; another: cardwatch trigger NAME")
                pending = None
            numbers = meter.measure(system.readings(), now_s)
            if screen is not None:
                screen.update(picture(_addresses(system), numbers, _cases(desk)), refresh=True)
            elif now_s - shown_s >= _LINE_EVERY_S:
                shown_s = now_s
                console.print(numbers.line(), soft_wrap=True)
            time.sleep(_REFRESH_S)


def _addresses(system: System) -> dict[str, str]:
    """Where everything is. The keys are this demo's own and end with it."""
    metrics = "   ".join(f"{role} {read_url(system.data, role)}/metrics" for role in ROLES)
    return {
        "console": f"{system.api_url}/console   sign in with {system.api_keys[AGENT]}",
        "API": f"{system.api_url}/v1   OpenAPI at {system.api_url}/openapi.json",
        "metrics": f"api {system.api_url}/metrics   {metrics}",
        "watch": "cardwatch top   or Prometheus, with these addresses in configs/prometheus/prometheus.yml",
        "Kafka": system.settings.kafka.bootstrap_servers,
        "Redis": f"unix socket {system.data.redis_socket}" if system.own_redis else "as configured",
        "logs": str(system.data.logs),
        "try": "cardwatch trigger NAME   with one of " + ", ".join(ATTACK_NAMES),
    }


def _cases(desk: DeskClient) -> list[CaseLine]:
    """Open cases, none while the API does not answer: the view goes on."""
    try:
        found = desk.open_cases(limit=10)
    except (StoryError, httpx.HTTPError):
        return []
    return [
        CaseLine(case["case_id"], case["card_token"], case["action"], case["state"], ", ".join(case["reasons"]))
        for case in found
    ]


@contextlib.contextmanager
def _screen(console: Console) -> Iterator[Live | None]:
    """A live display where the output is a terminal."""
    if not console.is_terminal:
        yield None
        return
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as screen:
        yield screen


@contextlib.contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM end the demo the way Ctrl-C does."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
