"""`cardwatch dlq`: records that were put aside, and what to do about them."""

from __future__ import annotations

import argparse
import asyncio
import getpass
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from cardwatch.commands.common import layers_of, plain_words
from cardwatch.commands.store import told
from cardwatch.errors import EXIT_OK, CardwatchError, SettingsError
from cardwatch.services import connected
from cardwatch.stream_settings import stream_settings
from streams.card_numbers import redact_text
from streams.clock import epoch_ms
from streams.dead_letter_box import Letter, LetterState, Resolution, open_box, resolved, sent_again
from streams.producer import open_producer
from streams.settings import StreamSettings
from streams.topic_tail import read_since
from streams.topics import ALERTS, DEAD_LETTERS, LABELS, TRANSACTIONS

_TOPIC_OF = {"transactions": TRANSACTIONS, "alerts": ALERTS, "labels": LABELS}
_DONE = {"retry": LetterState.RETRIED, "drop": LetterState.DROPPED}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `cardwatch dlq`."""
    what = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    listing = what.add_parser("list", help="letters that wait for somebody, oldest first")
    _add_choice(listing)
    listing.add_argument("--all", action="store_true", help="also those that were retried or dropped")
    listing.add_argument("--json", action="store_true", help="one JSON document a line")
    show = what.add_parser("show", help="a letter: its record without card numbers, and what was done about it")
    show.add_argument("letter", metavar="ID", help="as listed: topic/partition/offset")
    for name, meaning in (
        ("retry", "send records again to the topics that they came from; safe, for everything is known by its id"),
        ("drop", "let letters go; they stay in the topic and in --all"),
    ):
        command = what.add_parser(name, help=meaning)
        command.add_argument("letters", metavar="ID", nargs="*", help="as listed; or choose by the options below")
        _add_choice(command)
        command.add_argument("--note", type=plain_words, default="", help="why, in your words; no card numbers")
        command.add_argument(
            "--actor", type=plain_words, default=getpass.getuser(), help="who you are (default: %(default)s)"
        )


def _add_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", choices=[*_TOPIC_OF], help="only letters of this topic")
    parser.add_argument("--reason", help="only letters with this reason, as listed")


def run(args: argparse.Namespace) -> int:
    """Run `cardwatch dlq`.

    Raises:
        CardwatchError: settings are wrong, Kafka does not answer, no such letter, or a letter cannot be retried.
    """
    settings = connected(layers_of(args), redis=False)
    with told():
        streams = stream_settings(settings, "cardwatch-dlq")
        letters = open_box(read_since(streams, (DEAD_LETTERS,), 0))
        if args.what == "list":
            shown = [each for each in _chosen(args, letters) if args.all or each.state is LetterState.WAITING]
            _list(shown, as_json=args.json)
        elif args.what == "show":
            _show(_named(letters, args.letter))
        else:
            asyncio.run(_resolve(args, _to_resolve(args, letters), streams))
    return EXIT_OK


def _named(letters: Mapping[str, Letter], letter_id: str) -> Letter:
    """The letter of this id."""
    if letter_id not in letters:
        message = f"{redact_text(letter_id)}: there is no such letter; `cardwatch dlq list --all` shows them"
        raise SettingsError(message)
    return letters[letter_id]


def _chosen(args: argparse.Namespace, letters: Mapping[str, Letter]) -> list[Letter]:
    """Letters by --source and --reason."""
    return [
        letter
        for letter in letters.values()
        if (args.source is None or letter.source.topic == _TOPIC_OF[args.source])
        and (args.reason is None or letter.reason == args.reason)
    ]


def _to_resolve(args: argparse.Namespace, letters: Mapping[str, Letter]) -> list[Letter]:
    """Those that are named, or all waiting ones of a choice; never all by leaving everything out."""
    if args.letters:
        return [_named(letters, letter_id) for letter_id in args.letters]
    if args.source is None and args.reason is None:
        message = "name letters, or choose them by --source or --reason"
        raise SettingsError(message)
    return [letter for letter in _chosen(args, letters) if letter.state is LetterState.WAITING]


async def _resolve(args: argparse.Namespace, letters: list[Letter], streams: StreamSettings) -> None:
    """Retry or drop letters, each acknowledged by Kafka before it is noted as done."""
    producer = open_producer(streams)
    done, refused = 0, list[str]()
    try:
        for letter in letters:
            if args.what == "retry":
                try:
                    await producer.send(sent_again(letter))
                except ValueError as error:
                    refused.append(str(error))
                    continue
                await producer.drained()
            resolution = Resolution(letter.letter_id, _DONE[args.what], args.actor, args.note, epoch_ms())
            await producer.send(resolved(letter, resolution))
            await producer.drained()
            done += 1
    finally:
        await asyncio.to_thread(producer.close)
    print(f"{done} letter{'' if done == 1 else 's'} {_DONE[args.what]}")
    if refused:
        raise CardwatchError("\n".join(refused))


def _list(letters: list[Letter], *, as_json: bool) -> None:
    if as_json:
        for letter in letters:
            print(msgspec.json.encode(_document(letter)).decode())
        return
    for letter in letters:
        print(f"{letter.letter_id:34} {_moment(letter.time_ms)} {letter.state:8} {letter.reason:22} {letter.detail}")
    print(f"{len(letters)} letter{'' if len(letters) == 1 else 's'}")


def _show(letter: Letter) -> None:
    print(msgspec.json.format(msgspec.json.encode(_document(letter))).decode())


def _document(letter: Letter) -> dict[str, Any]:
    """A letter for people and programs."""
    return {
        "id": letter.letter_id,
        "state": letter.state,
        "reason": letter.reason,
        "detail": letter.detail,
        "put_aside": _moment(letter.time_ms),
        "can_be_retried": not letter.altered,
        "key": _text(letter.key),
        "value": _text(letter.value),
        "headers": {name: _text(value) for name, value in letter.headers},
        "resolutions": letter.resolutions,
    }


def _text(content: bytes | None) -> str | None:
    return None if content is None else content.decode(errors="replace")


def _moment(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
