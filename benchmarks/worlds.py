"""Worlds that nothing was tuned on: two shapes of the simulator's, and one of bouts at night with columns of its own.

Each is replayed as a stranger's file would be: shipped configuration, a mapping where its columns have other names,
labels seven days late. River's models see the same features and learn the same labels when they become known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks import bouts, protocol, results
from benchmarks.options import Options
from benchmarks.peers import PeerScores, run_online_peers
from benchmarks.protocol import Quality, Truth
from benchmarks.recorded import record, teach
from benchmarks.workload import LABEL_DELAY_DAYS, START_MS
from cardwatch.replay import Configuration, configuration, read_sections
from cardwatch.replay.evaluation import DAY_MS, auc_roc, average_precision
from cardwatch.replay.labelling import KnownLabels
from cardwatch.replay.mapping import own_names, parse_mapping
from cardwatch.replay.source import Transactions
from cardwatch.simulator import Simulator, WorldSettings
from cardwatch.simulator.wire import to_plain_columns
from detector.vocabulary import Kind

NAME = "worlds"
PURPOSE = "detection on simulated worlds that nothing was tuned on, beside river's models"

PAGE = results.REPOSITORY / "docs" / "detection.md"
# Two weeks of labels have come by then.
WARM_UP_DAYS = 21
# A card that was found is looked at again after so many days.
_FORGET_DAYS = 7
_KEY = bytes(range(16))
_PAYMENTS = 120_000


@dataclass(frozen=True, slots=True)
class File:
    """A labelled file as it is replayed.

    Attributes:
        transactions: its rows.
        label: int64, 1 fraud, 0 genuine.
        is_labelled: bool, whether a label ever comes; reversals have none.
    """

    transactions: Transactions
    label: NDArray[np.int64]
    is_labelled: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class World:
    """A world, what it is like, and how it is made: a number of payments, more or less, gives a file."""

    name: str
    make: Callable[[int], File]


def simulated(settings: WorldSettings, payments: int) -> File:
    """A file of the simulator's."""
    stream = Simulator(settings).stream(START_MS)
    made = stream.take(payments)
    table = pa.table(to_plain_columns(stream.world, made))
    transactions = Transactions(table, own_names(table.column_names), _KEY)
    return File(transactions, made.fraud.astype(np.int64), made.kind != int(Kind.REVERSAL))


def at_night(payments: int) -> File:
    """A file of the world of bouts at night."""
    shipped = bouts.Setting()
    cards = max(round(payments / (shipped.days * shipped.payments_a_card_day)), 1)
    transactions = Transactions(bouts.make(bouts.Setting(cards=cards)), parse_mapping(bouts.MAPPING), _KEY)
    if transactions.labels is None:
        message = "the mapping of the world of bouts names its column of labels"
        raise ValueError(message)
    return File(transactions, transactions.labels, np.ones(len(transactions), dtype=bool))


WORLDS = (
    World(
        "few cards that pay often (simulator, seed 101: 500 cards, 500 merchants, four payments a card and day)",
        lambda payments: simulated(WorldSettings(101, 500, 500, 4.0, 1.0), payments),
    ),
    World(
        "many cards that seldom pay (simulator, seed 202: 8,000 cards, 4,000 merchants, one payment in four days)",
        lambda payments: simulated(WorldSettings(202, 8_000, 4_000, 0.25, 0.05), payments),
    ),
    World("bouts at night (USD, categories, coordinates; columns of its own and a mapping)", at_night),
)


def run(options: Options) -> None:
    """Make the worlds, replay them, save, and write the table."""
    configured = configuration(read_sections(None))
    kept = []
    for world in WORLDS:
        options.say(f"world: {world.name}")
        kept.append(measure(world.name, world.make(_PAYMENTS), configured, options))
    results.save(NAME, {"load_before": options.busy_before, "worlds": kept})
    results.write_section(NAME, text_of(options.busy_before, kept), PAGE)


def measure(name: str, file: File, configured: Configuration, options: Options) -> dict[str, Any]:
    """Replay a world; how well cardwatch and its peers do from the end of the warm-up on."""
    transactions = file.transactions
    rows = np.flatnonzero(file.is_labelled)
    times = transactions.event_time_ms[rows] + LABEL_DELAY_DAYS * DAY_MS
    recorded = record(transactions, KnownLabels(rows, file.label[rows], times), configured)
    truth = Truth.of(transactions.event_time_ms, transactions.card_numbers(), file.label)
    judged = file.is_labelled & recorded.learnable & (truth.day >= truth.day[0] + WARM_UP_DAYS)
    options.say("time of cardwatch's own models")
    own = teach(recorded, configured.models)
    ours = PeerScores("**cardwatch**", recorded.score, own.scoring_us, own.learning_us, "online, as replayed")
    peers = run_online_peers(recorded, judged, options.say) if options.with_peers else []
    return {
        "name": name, "payments": len(transactions), "frauds": int(file.label.sum()),
        "days": int(truth.day[-1] - truth.day[0] + 1),
        "cp_at_most": quality_of(truth, judged, truth.label.astype(np.float64)).cp,
        "models": [_judged(each, truth, judged) for each in (ours, *peers)],
    }  # fmt: skip


def _judged(scores: PeerScores, truth: Truth, judged: NDArray[np.bool_]) -> dict[str, Any]:
    """A model's quality and time."""
    return {
        "name": scores.name, "note": scores.note, "scoring_us": scores.scoring_us, "learning_us": scores.learning_us,
        "quality": asdict(quality_of(truth, judged, scores.score)),
    }  # fmt: skip


def quality_of(truth: Truth, judged: NDArray[np.bool_], score: NDArray[np.float64]) -> Quality:
    """AUC, AP and the mean Card Precision@100 of the days, found cards being put aside for a week."""
    day, card, label, scores = truth.day[judged], truth.card[judged], truth.label[judged], score[judged]
    cards = protocol.card_precisions(day, card, label, scores, forget_days=_FORGET_DAYS)
    return Quality(
        auc_roc(label, scores), average_precision(label, scores), float(np.mean(list(cards.values()))),
        len(label), int(label.sum()),
    )  # fmt: skip


def text_of(busy_before: float, worlds: Sequence[Mapping[str, Any]]) -> str:
    """A table for each world."""
    head = ["model", "AUC", "AP", "CP@100", "scoring, µs", "learning, µs", "how it learned"]
    parts = [results.machine_lines(busy_before)]
    for world in worlds:
        judged = world["models"][0]["quality"]
        said = (
            f"**{world['name'][0].upper()}{world['name'][1:]}**: {world['payments']:,} payments in {world['days']} "
            f"days, {world['frauds'] / world['payments']:.2%} of them fraud; {judged['frauds']:,} of the "
            f"{judged['payments']:,} judged ones. CP@100 can be {world['cp_at_most']:.3f} at most:"
        )
        parts += [said, results.table(head, [_line(model) for model in world["models"]])]
    return "\n\n".join(parts)


def _line(model: Mapping[str, Any]) -> list[str]:
    """A row of a world's table."""
    quality = model["quality"]
    return [
        model["name"], *(f"{quality[key]:.3f}" for key in ("auc", "ap", "cp")),
        f"{model['scoring_us']:,.1f}", f"{model['learning_us']:,.1f}", model["note"],
    ]  # fmt: skip
