"""`cardwatch models`: which versions there are, how good they were, and which of them acts."""

from __future__ import annotations

import argparse
import getpass
import json
import math
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cardwatch.commands.common import layers_of, plain_words
from cardwatch.errors import EXIT_FAILED, EXIT_OK, CardwatchError, SettingsError
from cardwatch.model_topic import versions_kept, write_version
from cardwatch.services import connected
from cardwatch.settings import KafkaSettings
from detector.catalogue import catalogue_digest
from detector.errors import ModelError
from detector.models import ModelVersion
from detector.models.archive import MAXIMUM_UNPACKED_BYTES
from detector.models.checks import require_name
from detector.models.codec import MAXIMUM_NOTE
from detector.models.contest import BLOCKS, CAPITAL, FRAUDS, SUM
from detector.models.learned import Standing
from streams.clock import epoch_ms
from streams.model_log import name_of, number_of

PROMOTED_BY_HAND, ROLLED_BACK_BY_HAND = "promoted_by_hand", "rolled_back_by_hand"
_NOTHING_YET = "there is no model yet; `cardwatch demo` or the learner makes the first"
_MAXIMUM_FILE_BYTES = MAXIMUM_UNPACKED_BYTES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `cardwatch models`."""
    what = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    listed = what.add_parser("list", help="the versions that Kafka keeps, the newest last: it is the one that acts")
    show = what.add_parser("show", help="a version: where it comes from, its challengers, and who won against whom")
    show.add_argument("version", nargs="?", help="its name; the one that acts if not given")
    save = what.add_parser("save", help="write a version into a file, to be kept or promoted elsewhere")
    save.add_argument("version", help="its name")
    save.add_argument("file", type=Path, help="to be made; one that exists is left alone")
    promote = what.add_parser("promote", help="let another act: a version, a challenger of the newest, or a file's")
    promote.add_argument("version", help="name of a version that Kafka keeps or of a challenger, or a file")
    rollback = what.add_parser(
        "rollback", help="let the version act that acted before; after a rollback, the one before that"
    )
    rollback.add_argument("version", nargs="?", help="or that of this name")
    for command in (promote, rollback):
        command.add_argument(
            "--as", type=plain_words, dest="actor", metavar="NAME", help="who decides (default: who is logged in)"
        )
        command.add_argument(
            "--note", type=plain_words, default="", metavar="TEXT", help="why; kept with the change for ever"
        )
    for command in (listed, show, save, promote, rollback):
        command.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Run `cardwatch models`.

    Returns:
        0, or 1 if there is no model yet.

    Raises:
        CardwatchError: no such version, a file that is none, or Kafka does not answer.
    """
    changes = args.what in {"promote", "rollback"}
    by = _decider(args.actor, args.note) if changes else ("", "")
    kafka = connected(layers_of(args), redis=False).kafka
    kept = versions_kept(kafka)
    if not kept:
        print(_NOTHING_YET, file=sys.stderr)
        return EXIT_FAILED
    if changes:
        told = _change(kafka, kept, args, by)
    elif args.what == "save":
        told = _save(_named(kept, args.version), args.file)
    elif args.what == "show":
        version = _named(kept, args.version) if args.version else kept[-1]
        told = {"acts": version is kept[-1], **_told(version), **_details(version)}
    else:
        told = {"versions": [{"acts": version is kept[-1], **_told(version)} for version in kept]}
    if args.json:
        print(json.dumps(told, indent=2))
    else:
        _PRINTERS[args.what](told)
    return EXIT_OK


def _decider(actor: str | None, note: str) -> tuple[str, str]:
    """Who decides, and why.

    Raises:
        SettingsError: a name or note that cannot be kept.
    """
    name = actor if actor is not None else _logged_in()
    try:
        require_name(name, "--as")
    except ModelError:
        message = "--as: a name of 1 to 64 plain characters"
        raise SettingsError(message) from None
    if len(note) > MAXIMUM_NOTE or not note.isprintable():
        message = f"--note: at most {MAXIMUM_NOTE} plain characters, in one line"
        raise SettingsError(message)
    return name, note


def _logged_in() -> str:
    """Name of the user, or its number where the system knows no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _named(kept: list[ModelVersion], name: str) -> ModelVersion:
    """The version with a name."""
    for version in reversed(kept):
        if version.name == name:
            return version
    message = f"{name}: Kafka keeps no such version; there are {kept[0].name} to {kept[-1].name}"
    raise SettingsError(message)


def _change(
    kafka: KafkaSettings, kept: list[ModelVersion], args: argparse.Namespace, by: tuple[str, str]
) -> dict[str, Any]:
    """Put another version in place; what was done."""
    newest, name = kept[-1], name_of(number_of(kept[-1].name) + 1)
    kind = PROMOTED_BY_HAND if args.what == "promote" else ROLLED_BACK_BY_HAND
    challengers = [challenger.model for challenger in newest.challengers]
    if args.what == "promote" and args.version in challengers and not _is_kept(kept, args.version):
        made = newest.crowned(name, args.version, kind, epoch_ms(), by)
        what = f"challenger {args.version}"
    else:
        chosen = _before(kept) if args.version is None else _chosen(kept, args.version, challengers)
        made = chosen.republished(name, newest, kind, epoch_ms(), by)
        what = f"{chosen.name} again"
    write_version(kafka, made)
    return {"version": made.name, "is": what, "in_place_of": newest.name, "verdict": asdict(made.verdicts[-1])}


def _is_kept(kept: list[ModelVersion], name: str) -> bool:
    """Whether a version has this name."""
    return any(version.name == name for version in kept)


def _before(kept: list[ModelVersion]) -> ModelVersion:
    """What acted before the newest version; of one that was rolled back to, what acted before it the first time.

    Raises:
        CardwatchError: there is none.
    """
    *earlier, newest = kept
    place = len(earlier) - 1
    if earlier and newest.verdicts != earlier[-1].verdicts and newest.verdicts[-1].kind == ROLLED_BACK_BY_HAND:
        names = [version.name for version in kept]
        place = names.index(newest.created_from) - 1 if newest.created_from in names else -1
    if place < 0:
        message = f"Kafka keeps nothing that acted before {newest.name}; name a version or promote a file"
        raise CardwatchError(message)
    return kept[place]


def _chosen(kept: list[ModelVersion], name: str, challengers: list[str]) -> ModelVersion:
    """A version that is kept, or one of a file, checked before it may act."""
    path = Path(name)
    if _is_kept(kept, name) or not path.exists():
        if not _is_kept(kept, name) and challengers:
            others = f"; challengers are {', '.join(challengers)}"
            message = f"{name}: no file, and Kafka keeps versions {kept[0].name} to {kept[-1].name}{others}"
            raise SettingsError(message)
        return _named(kept, name)
    try:
        if not path.is_file() or path.stat().st_size > _MAXIMUM_FILE_BYTES:
            message = f"{name}: not a model's file"
            raise SettingsError(message)
        version = ModelVersion.from_bytes(path.read_bytes())
        version.require_catalogue(catalogue_digest())
    except (OSError, ModelError) as error:
        message = f"{name}: {error}"
        raise SettingsError(message) from None
    return version


def _save(version: ModelVersion, path: Path) -> dict[str, Any]:
    """Write a version into a file that does not exist yet."""
    try:
        with path.open("xb") as file:
            file.write(version.to_bytes())
    except OSError as error:
        message = f"{path}: {os.strerror(error.errno or 0)}"
        raise SettingsError(message) from None
    return {"version": version.name, "file": str(path), "digest": version.digest}


def _told(version: ModelVersion) -> dict[str, Any]:
    """What a list tells of a version."""
    return {
        "version": version.name,
        "model": version.model,
        "challengers": [challenger.model for challenger in version.challengers],
        "created_from": version.created_from or None,
        "examples_learned": version.examples_learned,
        "frauds_learned": version.frauds_learned,
        "may_freeze": not version.is_cold,
        "trained_from_ms": version.trained_from_ms or None,
        "trained_to_ms": version.trained_to_ms or None,
        "log_loss": version.log_loss,
        "average_precision": version.average_precision,
    }


def _details(version: ModelVersion) -> dict[str, Any]:
    """What else there is to tell of one version."""
    shared = version.shared
    drifting: dict[str, int] = {}
    if shared is not None and shared.drift is not None:
        names = (*version.binner.names, "score", "labels", "loss")
        since = zip(names, shared.drift.since_ms.tolist(), strict=True)
        drifting = {name: time_ms for name, time_ms in since if time_ms}
    return {
        "fields": len(version.fields),
        "slots": version.fields.slot_count,
        "catalogue": version.catalogue_digest,
        "configuration": version.configuration_digest,
        "digest": version.digest,
        "examples_offset": version.examples_offset,
        "contenders": [
            {
                "name": challenger.model, "log_loss": challenger.log_loss,
                "average_precision": challenger.average_precision, **_standing(challenger),
            }
            for challenger in version.challengers
        ],
        "compared_only": [] if shared is None else list(shared.compared),
        "drifting_since_ms": drifting,
        "verdicts": [asdict(verdict) for verdict in version.verdicts],
    }  # fmt: skip


def _standing(challenger: ModelVersion) -> dict[str, float]:
    """How a challenger stands against the champion."""
    known: Standing | None = None if challenger.state is None else challenger.state.standing
    if known is None or not known.contest[BLOCKS]:
        return {"frauds": 0.0, "gain_beyond_margin": 0.0, "evidence": 1.0}
    row = known.contest
    return {
        "frauds": float(row[FRAUDS]),
        "gain_beyond_margin": float(row[SUM] / row[BLOCKS]),
        "evidence": math.exp(min(float(row[CAPITAL]), 34.0)),
    }


def _day(time_ms: float | None) -> str:
    """A moment for people; a dash for none."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M") if time_ms else "-"


def _print_list(told: dict[str, Any]) -> None:
    """Print a line a version."""
    print(f"{'version':10} {'model':12} {'frauds':>8} {'learned to':16} {'log loss':>9} {'AP':>6}  from")
    for each in told["versions"]:
        acts = "  acts" if each["acts"] else ""
        print(
            f"{each['version']:10} {each['model']:12} {each['frauds_learned']:8,} {_day(each['trained_to_ms']):16} "
            f"{each['log_loss']:9.5f} {each['average_precision']:6.3f}  {each['created_from'] or '-'}{acts}"
        )


def _print_details(told: dict[str, Any]) -> None:
    """Print all that is known of a version."""
    lines = {
        "version": told["version"] + (", acts" if told["acts"] else ""),
        "model": told["model"],
        "created from": told["created_from"] or "-",
        "labels from": _day(told["trained_from_ms"]),
        "labels to": _day(told["trained_to_ms"]),
        "examples learned": f"{told['examples_learned']:,}",
        "frauds learned": f"{told['frauds_learned']:,}{'' if told['may_freeze'] else ' (cold: may not freeze)'}",
        "prequential log loss": f"{told['log_loss']:.6f}",
        "prequential AP": f"{told['average_precision']:.4f}",
        "fields": f"{told['fields']}, {told['slots']:,} slots",
        "catalogue": told["catalogue"],
        "configuration": told["configuration"],
        "digest": told["digest"],
        "examples offset": str(told["examples_offset"]),
    }
    for name, text in lines.items():
        print(f"{name:22} {text}")
    for each in told["contenders"]:
        print(
            f"{'challenger':22} {each['name']}: log loss {each['log_loss']:.6f}, AP {each['average_precision']:.4f}; "
            f"{each['gain_beyond_margin']:+.4f} nats a fraud beyond the margin over {each['frauds']:,.0f} frauds, "
            f"evidence {each['evidence']:.2f}"
        )
    for name in told["compared_only"]:
        print(f"{'compared only':22} {name}")
    for name, since_ms in told["drifting_since_ms"].items():
        print(f"{'drifting':22} {name}, since {_day(since_ms)}")
    for verdict in told["verdicts"]:
        note = f" ({verdict['note']})" if verdict["note"] else ""
        print(
            f"{'verdict':22} {_day(verdict['label_time_ms'])} {verdict['kind']}: {verdict['winner']} in place of "
            f"{verdict['loser']}, by {verdict['actor']}{note}"
            + (f"; {verdict['gain']:+.4f} nats a fraud over {verdict['frauds']:,.0f}" if verdict["frauds"] else "")
        )


def _print_change(told: dict[str, Any]) -> None:
    """Say what acts now."""
    print(f"{told['version']} acts now: {told['is']}, in place of {told['in_place_of']}")


def _print_saved(told: dict[str, Any]) -> None:
    """Say where a version was written to."""
    print(f"{told['version']} written to {told['file']}, digest {told['digest']}")


_PRINTERS: dict[str, Callable[[dict[str, Any]], None]] = {
    "list": _print_list,
    "show": _print_details,
    "save": _print_saved,
    "promote": _print_change,
    "rollback": _print_change,
}
