"""`cardwatch models`: which versions there are, how good they were, and which of them acts."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from cardwatch.commands.common import layers_of, now_ms
from cardwatch.errors import EXIT_FAILED, EXIT_OK, SettingsError
from cardwatch.model_topic import versions_kept, write_version
from cardwatch.services import connected
from detector.catalogue import catalogue_digest
from detector.errors import ModelError
from detector.models import ModelVersion
from streams.model_log import name_of, number_of

PROMOTED_BY_HAND, ROLLED_BACK_BY_HAND = "promoted_by_hand", "rolled_back_by_hand"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `cardwatch models`."""
    what = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    what.add_parser("list", help="the versions that Kafka keeps, the newest last: it is the one that acts")
    show = what.add_parser("show", help="a version: where it comes from, what it is, and who won against whom")
    show.add_argument("version", nargs="?", help="its name; the one that acts if not given")
    promote = what.add_parser("promote", help="let a version act, one that Kafka keeps or one from a file")
    promote.add_argument("version", help="its name, or a file")
    rollback = what.add_parser("rollback", help="let the version act that acted before")
    rollback.add_argument("version", nargs="?", help="or that of this name")


def run(args: argparse.Namespace) -> int:
    """Run `cardwatch models`.

    Returns:
        0, or 1 if there is no model yet.

    Raises:
        CardwatchError: no such version, a file that is none, or Kafka does not answer.
    """
    settings = connected(layers_of(args), redis=False).kafka
    kept = versions_kept(settings)
    if not kept:
        print("there is no model yet; `cardwatch demo` or the learner makes the first")
        return EXIT_FAILED
    if args.what == "list":
        _list(kept)
    elif args.what == "show":
        _show(_named(kept, args.version) if args.version else kept[-1])
    else:
        by_hand = PROMOTED_BY_HAND if args.what == "promote" else ROLLED_BACK_BY_HAND
        chosen = _before(kept) if args.version is None else _chosen(kept, args.version)
        made = chosen.republished(name_of(number_of(kept[-1].name) + 1), kept[-1], by_hand, now_ms())
        write_version(settings, made)
        print(f"{made.name} acts now: {chosen.name} again, in place of {kept[-1].name}")
    return EXIT_OK


def _named(kept: list[ModelVersion], name: str) -> ModelVersion:
    """The version with a name."""
    for version in reversed(kept):
        if version.name == name:
            return version
    message = f"{name}: Kafka keeps no such version; there are {kept[0].name} to {kept[-1].name}"
    raise SettingsError(message)


def _before(kept: list[ModelVersion]) -> ModelVersion:
    """What acted before the newest version; of one that was itself put in place, what it took the place of."""
    if len(kept) == 1:
        message = f"{kept[0].name} is the only version that Kafka keeps; there is none to go back to"
        raise SettingsError(message)
    return kept[-2]


def _chosen(kept: list[ModelVersion], name: str) -> ModelVersion:
    """A version that is kept, or one of a file, checked before it may act."""
    path = Path(name)
    if not path.is_file():
        return _named(kept, name)
    try:
        version = ModelVersion.from_bytes(path.read_bytes())
        version.require_catalogue(catalogue_digest())
    except (OSError, ModelError) as error:
        message = f"{name}: {error}"
        raise SettingsError(message) from None
    return version


def _day(time_ms: int) -> str:
    """A moment for people; a dash for none."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M") if time_ms else "-"


def _list(kept: list[ModelVersion]) -> None:
    """Print a line a version."""
    print(f"{'version':10} {'model':12} {'frauds':>8} {'learned to':16} {'log loss':>9} {'AP':>6}  from")
    for version in kept:
        acts = "  acts" if version is kept[-1] else ""
        print(
            f"{version.name:10} {version.model:12} {version.frauds_learned:8,} {_day(version.trained_to_ms):16} "
            f"{version.log_loss:9.5f} {version.average_precision:6.3f}  {version.created_from or '-'}{acts}"
        )


def _show(version: ModelVersion) -> None:
    """Print all that is known of a version."""
    lines = {
        "version": version.name,
        "model": version.model,
        "created from": version.created_from or "-",
        "labels from": _day(version.trained_from_ms),
        "labels to": _day(version.trained_to_ms),
        "examples learned": f"{version.examples_learned:,}",
        "frauds learned": f"{version.frauds_learned:,}{' (cold: may not freeze)' if version.is_cold else ''}",
        "prequential log loss": f"{version.log_loss:.6f}",
        "prequential AP": f"{version.average_precision:.4f}",
        "fields": f"{len(version.fields)}, {version.fields.slot_count:,} slots",
        "catalogue": version.catalogue_digest,
        "configuration": version.configuration_digest,
        "examples offset": str(version.examples_offset),
    }
    for name, text in lines.items():
        print(f"{name:22} {text}")
    for verdict in version.verdicts:
        told = asdict(verdict) | {"label_time_ms": _day(verdict.label_time_ms)}
        print("verdict                " + ", ".join(f"{name} {value}" for name, value in told.items()))
