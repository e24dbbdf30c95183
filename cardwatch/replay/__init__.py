"""`cardwatch replay`: run the engine over a file of past payments and say how good it is."""

from __future__ import annotations

import argparse
import re
import sys
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cardwatch.errors import EXIT_OK, ReplayError
from cardwatch.replay.evaluation import auc_roc, average_precision, card_precision_at
from cardwatch.replay.labelling import KnownLabels
from cardwatch.replay.mapping import FileMapping, load_mapping, own_names
from cardwatch.replay.runner import OUTPUT_SCHEMA, Replay
from cardwatch.replay.source import Transactions, read_labels, read_table
from cardwatch.wiring import require_one_reference
from detector.errors import DetectorError
from detector.models.config import ModelsConfig
from detector.policy import Policy
from detector.rates import RateTable
from detector.state import EngineState, StateConfig

_DAY_MS = 86_400_000
_DURATIONS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": _DAY_MS}
# A replay is its own world: its fingerprints meet no other installation's.
_REPLAY_KEY = bytes(range(16))
_PROGRESS_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a replay decides and learns by."""

    policy: Policy
    models: ModelsConfig
    rates: RateTable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `cardwatch replay`."""
    add_input_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, help="Parquet file of decisions to write")


def add_input_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that say what is replayed, and with which configuration."""
    parser.add_argument("transactions", type=Path, help="CSV, JSONL or Parquet of payments")
    parser.add_argument("--labels", type=Path, help="file of transaction_id, label (1 fraud) and label_time_ms")
    parser.add_argument("--label-delay", default="7d", metavar="TIME", help="delay of a mapped label (default 7d)")
    parser.add_argument(
        "--alert-label-delay", metavar="TIME", help="delay of the label of an alerted payment, where that is sooner"
    )
    parser.add_argument("--mapping", type=Path, help="TOML that maps the file's columns to our fields")
    parser.add_argument(
        "--config", type=Path, help="TOML with [policy], [models] or [rates] instead of the shipped ones"
    )


def parse_duration_ms(text: str, option: str = "--label-delay") -> int:
    """Milliseconds of a duration as "7d", "12h", "30m" or "90s"; `option` is named where it is none.

    Raises:
        ReplayError: it is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if match is None:
        message = f"{option} is a number with a unit: 7d, 12h, 30m or 90s"
        raise ReplayError(message)
    return round(float(match[1]) * _DURATIONS_MS[match[2]])


def read_sections(path: Path | None) -> dict[str, Mapping[str, Any]]:
    """The content of the policy, the models and the rates: shipped, or from --config where it has them.

    Raises:
        ReplayError: the file cannot be read.
    """
    given: Mapping[str, Any] = {}
    if path is not None:
        try:
            given = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            message = f"--config {path}: {error}"
            raise ReplayError(message) from None
    shipped = resources.files("configs")
    return {
        name: given.get(name) or tomllib.loads((shipped / f"{name}.toml").read_text(encoding="utf-8"))
        for name in ("policy", "models", "rates")
    }


def _known_labels(transactions: Transactions, arguments: argparse.Namespace) -> KnownLabels:
    """Labels from --labels, or from the mapped column after the delay, or none."""
    if arguments.labels is not None:
        return _labels_of_file(transactions, arguments.labels)
    if transactions.labels is None:
        empty = np.zeros(0, dtype=np.int64)
        return KnownLabels(empty, empty, empty)
    times = transactions.event_time_ms + parse_duration_ms(arguments.label_delay)
    return KnownLabels(np.arange(len(transactions)), transactions.labels, times)


def _labels_of_file(transactions: Transactions, path: Path) -> KnownLabels:
    """Labels of a file, joined with the rows of the transactions they are about; others are counted and said."""
    names, labels, times = read_labels(path)
    rows = _last_rows(names, transactions.transaction_ids())
    known = rows >= 0
    if not known.all():
        print(f"{int((~known).sum())} labels are of transactions that are not in the file", file=sys.stderr)
    truth = np.full(len(transactions), -1, dtype=np.int64)
    truth[rows[known]] = labels[known]
    transactions.labels = truth
    return KnownLabels(rows[known], labels[known], times[known])


def _last_rows(names: pa.StringArray, identities: pa.StringArray) -> NDArray[np.int64]:
    """For each name the last row with that identity, -1 where there is none."""
    backwards = identities.take(pa.array(np.arange(len(identities))[::-1].copy()))
    found = pc.index_in(names, value_set=backwards)
    rows = len(identities) - 1 - pc.fill_null(found, len(identities)).to_numpy(zero_copy_only=False)
    return np.asarray(rows, dtype=np.int64)


def _mapping(table: pa.Table, path: Path | None) -> FileMapping:
    """The mapping of a file, or that of our own names."""
    return load_mapping(path) if path is not None else own_names(table.column_names)


class Progress:
    """Says how far a long run is: in place on a terminal, a line now and then elsewhere."""

    def __init__(self, total: int, what: str = "replayed") -> None:
        self._total = total
        self._what = what
        self._started = self._said = time.monotonic()

    def __call__(self, done: int) -> None:
        """Report rows done."""
        now = time.monotonic()
        if now - self._said < _PROGRESS_EVERY_S and done < self._total:
            return
        self._said = now
        rate = done / max(now - self._started, 1e-9)
        end = "\r" if sys.stderr.isatty() and done < self._total else "\n"
        print(
            f"{self._what} {done:,} of {self._total:,} rows ({100 * done // self._total}%), {rate:,.0f}/s",
            end=end,
            file=sys.stderr,
            flush=True,
        )


def configuration(sections: Mapping[str, Mapping[str, Any]], option: str = "--config") -> Configuration:
    """Parse the content of the policy, the models and the rates.

    Raises:
        ReplayError: a section cannot be used; the message names `option`.
        SettingsError: policy and rates have different reference currencies.
    """
    try:
        rates, policy = RateTable.from_mapping(sections["rates"]), Policy.from_mapping(sections["policy"])
        models = ModelsConfig.from_mapping(sections["models"])
    except DetectorError as error:
        message = f"{option}: {error}"
        raise ReplayError(message) from None
    require_one_reference(policy.reference_currency, rates.reference_currency)
    return Configuration(policy, models, rates)


def read_input(arguments: argparse.Namespace) -> tuple[Transactions, KnownLabels]:
    """The transactions and labels that `add_input_arguments` has asked for.

    Raises:
        ReplayError: a file, mapping or option cannot be used.
    """
    table = read_table(arguments.transactions)
    transactions = Transactions(table, _mapping(table, arguments.mapping), _REPLAY_KEY)
    if not len(transactions):
        message = f"{arguments.transactions}: no rows"
        raise ReplayError(message)
    return transactions, _known_labels(transactions, arguments)


def alerted_after_ms(arguments: argparse.Namespace) -> int | None:
    """How soon people answer alerts, None where alerts make no difference.

    Raises:
        ReplayError: --alert-label-delay is no duration.
    """
    text = arguments.alert_label_delay
    return None if text is None else parse_duration_ms(text, "--alert-label-delay")


def make_replay(
    transactions: Transactions, labels: KnownLabels, configured: Configuration, alerted_ms: int | None = None
) -> Replay:
    """The engine over the file, with an empty state; `alerted_ms` as `Replay` takes it.

    Raises:
        ReplayError: the models cannot be built as configured.
    """
    state = EngineState(_state_config(len(transactions)), configured.rates)
    try:
        return Replay(transactions, labels, state, configured.models, configured.policy, alerted_ms)
    except DetectorError as error:
        message = f"[models]: {error}"
        raise ReplayError(message) from None


def run(arguments: argparse.Namespace) -> int:
    """Replay a file.

    Raises:
        ReplayError: a file, mapping or option cannot be used.
    """
    alerted_ms = alerted_after_ms(arguments)
    transactions, labels = read_input(arguments)
    replay = make_replay(transactions, labels, configuration(read_sections(arguments.config)), alerted_ms)
    started = time.monotonic()
    scores: list[np.ndarray[Any, Any]] = []
    with pq.ParquetWriter(str(arguments.out), OUTPUT_SCHEMA) as writer:
        for decisions in replay.run(Progress(len(transactions))):
            writer.write_table(decisions)
            scores.append(decisions.column("score").to_numpy())
    elapsed_s = time.monotonic() - started
    print(f"{len(transactions):,} rows in {elapsed_s:.1f} s: {len(transactions) / elapsed_s:,.0f} rows/s")
    print(f"frauds learned: {replay.frauds_learned:,}")
    _print_contenders(replay)
    _print_quality(transactions, np.concatenate(scores))
    return EXIT_OK


def _print_contenders(replay: Replay) -> None:
    """Print how the models compare, where there are challengers."""
    if len(replay.evidence) > 1:
        for name, found in replay.evidence.items():
            print(f"model {name}: log loss {found.log_loss:.6f}, AP {found.average_precision:.4f} on the latest labels")
    for verdict in replay.verdicts:
        print(f"model {verdict.winner} {verdict.kind} in place of {verdict.loser} after {verdict.frauds:.0f} frauds")


def _state_config(rows: int) -> StateConfig:
    """Room for every payment of the file: a replay forgets nothing for want of space."""
    room = max(rows, 64)
    return StateConfig(
        _REPLAY_KEY,
        cards=room,
        events=4 * room,
        payments=room,
        entities=3 * room,
        buckets=24 * room,
    )


def _print_quality(transactions: Transactions, scores: np.ndarray[Any, Any]) -> None:
    """Print AUC, Average Precision and Card Precision@100 over all labelled rows."""
    if transactions.labels is None:
        return
    known = transactions.labels >= 0
    labels, scores = transactions.labels[known], scores[known]
    cards = transactions.card_numbers()[known]
    print(f"labelled rows: {len(labels):,}, frauds: {int(labels.sum()):,} ({100 * labels.mean():.2f}%)")
    print(f"AUC ROC            {auc_roc(labels, scores):.4f}")
    print(f"Average Precision  {average_precision(labels, scores):.4f}")
    precision = card_precision_at(labels, scores, cards, transactions.event_time_ms[known])
    print(f"Card Precision@100 {precision:.4f}  (daily; a card found is not looked at for 7 days)")
