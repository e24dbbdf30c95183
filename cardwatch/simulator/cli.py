"""`cardwatch simulate`: write simulated payments to a file, or play them into Kafka."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from cardwatch.simulator.errors import SettingError, SimulatorError
from cardwatch.simulator.kafka import TOPIC, Sender
from cardwatch.simulator.output import check_suffix, write_files
from cardwatch.simulator.pacing import paced
from cardwatch.simulator.simulator import Simulator
from cardwatch.simulator.wire import to_records
from cardwatch.simulator.world import DAY_MS, WorldSettings

_DEFAULT_START = "2026-01-01T00:00:00Z"
_DEFAULT_RECORDS = 100_000
# An accelerated stream starts so far back: less than the two days by which a partition's events may be late, so what
# is triggered in the present does not make the stream's payments late.
_DEFAULT_LEAD_MS = DAY_MS // 2
_USAGE_ERROR = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `cardwatch simulate`."""
    defaults = WorldSettings()
    world = parser.add_argument_group("world")
    world.add_argument("--seed", type=int, default=defaults.seed, help="chooses the world and all that happens")
    world.add_argument(
        "--cards", type=int, help=f"number of cards (default {defaults.cards}; live, as many as the rate needs)"
    )
    world.add_argument("--merchants", type=int, default=defaults.merchants, help="number of merchants")
    world.add_argument(
        "--payments-per-card-day", type=float, default=defaults.payments_per_card_day, help="how often a card pays"
    )
    world.add_argument(
        "--attacks", type=float, default=defaults.attacks_per_thousand_cards_day, metavar="N",
        help="attacks a day for a thousand cards (default %(default)s; 0 for none)",
    )  # fmt: skip
    parser.add_argument("--records", type=int, help=f"how many payments (files: {_DEFAULT_RECORDS}; Kafka: no end)")
    parser.add_argument("--start", help=f"first moment, ISO 8601 or epoch milliseconds (files: {_DEFAULT_START})")
    files = parser.add_argument_group("to a file")
    files.add_argument("--out", type=Path, help="file to write: .jsonl, .csv or .parquet")
    files.add_argument("--labels", type=Path, help="file of the truth, in one of the same formats")
    files.add_argument("--label-delay-days", type=float, default=7.0, help="when a label becomes known (default 7)")
    kafka = parser.add_argument_group("to Kafka")
    kafka.add_argument("--broker", help="bootstrap servers, host:port")
    kafka.add_argument("--topic", default=TOPIC, help="topic to produce to (default %(default)s)")
    kafka.add_argument("--rate", type=float, help="payments a second (default 100)")
    kafka.add_argument(
        "--clock", choices=("live", "accelerated"), default="accelerated",
        help="live: payments are dated when they are sent; accelerated: twelve hours are caught up first",
    )  # fmt: skip


def run(args: argparse.Namespace, client_options: Mapping[str, str] | None = None) -> int:
    """Run `cardwatch simulate`.

    Args:
        args: the parsed command line.
        client_options: how to connect to Kafka, in librdkafka's names.

    Returns:
        the exit code: 0, or 2 for settings that cannot be used, or 1 if Kafka did not take every record.
    """
    try:
        _check(args)
        return _run_kafka(args, client_options or {}) if args.out is None else _run_files(args)
    except SettingError as error:
        print(f"cardwatch simulate: {error}", file=sys.stderr)
        return _USAGE_ERROR
    except (SimulatorError, OSError) as error:
        print(f"cardwatch simulate: {error}", file=sys.stderr)
        return 1


def _check(args: argparse.Namespace) -> None:
    """Refuse options that do not go together."""
    if (args.out is None) == (args.broker is None):
        message = "give either --out FILE or --broker HOST:PORT"
        raise SettingError(message)
    if args.records is not None and args.records < 1:
        message = f"--records is {args.records}; it must be at least 1"
        raise SettingError(message)


def start_time_ms(text: str) -> int:
    """Read a moment: epoch milliseconds or ISO 8601, UTC where no offset is given.

    Raises:
        SettingError: it is neither.
    """
    if text.isdecimal():
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        message = f"--start {text!r} is no time; give epoch milliseconds or 2026-01-31T12:00:00Z"
        raise SettingError(message) from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _world(args: argparse.Namespace, cards: int) -> WorldSettings:
    """Collect the settings of the world."""
    return WorldSettings(
        seed=args.seed,
        cards=cards if args.cards is None else args.cards,
        merchants=args.merchants,
        payments_per_card_day=args.payments_per_card_day,
        attacks_per_thousand_cards_day=args.attacks,
    )


def _run_files(args: argparse.Namespace) -> int:
    """Write files and say what is in them."""
    check_suffix(args.out)
    if args.labels is not None:
        check_suffix(args.labels)
    count = _DEFAULT_RECORDS if args.records is None else args.records
    simulator = Simulator(_world(args, WorldSettings().cards))
    stream = simulator.stream(start_time_ms(args.start or _DEFAULT_START))
    frauds = write_files(stream, count, args.out, args.labels, round(args.label_delay_days * DAY_MS))
    print(f"{args.out}: {count} payments, {frauds} of them fraudulent")
    if args.labels is not None:
        print(f"{args.labels}: their labels")
    return 0


def _run_kafka(args: argparse.Namespace, client_options: Mapping[str, str]) -> int:
    """Play into Kafka until all is sent or a signal comes."""
    rate = 100.0 if args.rate is None else args.rate
    if rate <= 0:
        message = f"--rate is {rate}; it must be above 0"
        raise SettingError(message)
    if args.labels is not None:
        message = "--labels goes with --out; in Kafka, labels are what agents and chargebacks say"
        raise SettingError(message)
    live = args.clock == "live"
    defaults = WorldSettings()
    needed = round(rate * DAY_MS / 1000 / args.payments_per_card_day) if args.payments_per_card_day > 0 else 0
    settings = _world(args, max(defaults.cards, needed) if live else defaults.cards)
    present_ms = time.time_ns() // 1_000_000
    start_ms = start_time_ms(args.start) if args.start else present_ms - (0 if live else _DEFAULT_LEAD_MS)
    stream = Simulator(settings).stream(start_ms)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with Sender(args.broker, topic=args.topic, options=client_options) as sender:
        for payments in paced(
            stream,
            rate_per_s=None if live else rate,
            count=args.records,
            now_ms=lambda: time.time_ns() / 1_000_000,
            wait_s=stop.wait,
        ):
            sender.send(to_records(stream.world, payments))
    print(f"{args.topic}: {sender.delivery.acknowledged} payments acknowledged")
    return 0
