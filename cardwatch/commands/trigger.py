"""`cardwatch trigger ATTACK`: play one attack into a running system."""

from __future__ import annotations

import argparse

from cardwatch.commands.common import layers_of
from cardwatch.embedded import DataDirectory
from cardwatch.errors import EXIT_OK, ServiceError, SettingsError
from cardwatch.services import RunningServices, connected
from cardwatch.settings import KafkaSettings
from cardwatch.simulator import ATTACK_NAMES, SettingError, Simulator, SimulatorError, WorldSettings
from cardwatch.simulator.kafka import Sender
from cardwatch.simulator.wire import Record
from streams.clock import epoch_ms


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `cardwatch trigger`."""
    parser.add_argument("attack", choices=ATTACK_NAMES, metavar="ATTACK", help=", ".join(ATTACK_NAMES))
    world = parser.add_argument_group("world", "that of the running demo, unless given")
    world.add_argument("--seed", type=int, help="seed of the simulated world")
    world.add_argument("--cards", type=int, help="number of its cards")
    world.add_argument("--merchants", type=int, help="number of its merchants")


def run(args: argparse.Namespace) -> int:
    """Run `cardwatch trigger`.

    Raises:
        CardwatchError: settings are wrong, or Kafka did not take the attack.
    """
    settings = connected(layers_of(args), redis=False)
    demo = RunningServices.find(DataDirectory(settings.data.directory))
    given = {name: getattr(args, name) for name in ("seed", "cards", "merchants") if getattr(args, name) is not None}
    try:
        world = WorldSettings(**({} if demo is None else dict(demo.world)) | given)
    except SettingError as error:
        raise SettingsError(str(error)) from None
    records = play(settings.kafka, world, args.attack)
    cards = sorted({str(record["card_token"]) for record in records})
    shown = ", ".join(cards[:3]) + (f" and {len(cards) - 3} more" if len(cards) > 3 else "")
    print(f"{args.attack}: {len(records)} payments of {len(cards)} card{'s' if len(cards) > 1 else ''}: {shown}")
    return EXIT_OK


def play(settings: KafkaSettings, world: WorldSettings, attack: str) -> list[Record]:
    """Send one attack, dated now, and wait until Kafka has it.

    Raises:
        ServiceError: Kafka did not take all of it.
    """
    records = Simulator(world).attack(attack, epoch_ms())
    send(settings, records)
    return records


def send(settings: KafkaSettings, records: list[Record]) -> None:
    """Send records of payments and wait until Kafka has them.

    Raises:
        ServiceError: Kafka did not take all of them.
    """
    try:
        with Sender(settings.bootstrap_servers, options=settings.client_options()) as sender:
            sender.send(records)
    except SimulatorError as error:
        raise ServiceError(str(error)) from None
