"""`cardwatch backtest`: a changed policy or models against the current ones, on replayed traffic."""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cardwatch.backtest.changes import changes
from cardwatch.backtest.judge import Decisions, Facts, Judgement, Terms
from cardwatch.backtest.page import page
from cardwatch.backtest.table import table
from cardwatch.errors import EXIT_OK, ReplayError
from cardwatch.replay import (
    Configuration,
    Progress,
    add_input_arguments,
    alerted_after_ms,
    configuration,
    make_replay,
    parse_duration_ms,
    read_input,
    read_sections,
)
from cardwatch.replay.runner import SLAB_ROWS, Replay
from cardwatch.replay.source import Transactions
from cardwatch.settings import configured_toml
from casework.playbook import CaseHandling, Playbook
from detector.rates import RateTable
from detector.texts import pack_letters
from detector.transactions import CURRENCY_LETTERS
from detector.vocabulary import Action, Kind

_CHANGEABLE = ("policy", "models")
_SAME_VERSION = " (candidate)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `cardwatch backtest`."""
    add_input_arguments(parser)
    parser.add_argument(
        "--candidate", type=Path, required=True, metavar="FILE",
        help="TOML with [policy] or [models]: what is different from the current configuration",
    )  # fmt: skip
    parser.add_argument(
        "--answer-after", default="1d", metavar="TIME", help="how long a case is open, and a card frozen (default 1d)"
    )
    parser.add_argument(
        "--wrong-within", default="7d", metavar="TIME",
        help="a freeze without a fraud on its card within this time was wrong (default 7d)",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers as JSON")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write one self-contained page with plots")


def run(arguments: argparse.Namespace) -> int:
    """Backtest a candidate.

    Raises:
        ReplayError: a file, mapping or option cannot be used.
        SettingsError: policy and rates have different reference currencies.
    """
    answer_ms = parse_duration_ms(arguments.answer_after, "--answer-after")
    wrong_ms = parse_duration_ms(arguments.wrong_within, "--wrong-within")
    alerted_ms = alerted_after_ms(arguments)
    sections = read_sections(arguments.config)
    changed = _candidate(arguments.candidate)
    current = configuration(sections)
    candidate = configuration(_merged(sections, changed), "--candidate")
    for target in (arguments.json, arguments.html):
        _require_writable(target)
    transactions, labels = read_input(arguments)
    facts = facts_of(transactions, current.rates)
    terms = Terms(current.policy, current.rates, answer_ms, wrong_ms, case_actions())
    judged = [
        Judgement(facts, _decide(name, make_replay(transactions, labels, configured, alerted_ms), configured), terms)
        for name, configured in (("current", current), ("candidate", _renamed(candidate, current)))
    ]
    report = _report(arguments, judged, sorted(changed))
    print(table(report))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    if arguments.html is not None:
        arguments.html.write_text(page(report), encoding="utf-8")
    return EXIT_OK


def _candidate(path: Path) -> dict[str, Mapping[str, Any]]:
    """What the candidate changes, by section.

    Raises:
        ReplayError: it cannot be read, says nothing, or says something that is not compared.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        message = f"--candidate {path}: {error}"
        raise ReplayError(message) from None
    if not content or set(content) - set(_CHANGEABLE):
        message = f"--candidate {path}: right are the sections [policy] and [models], one of them or both"
        raise ReplayError(message)
    return content


def _merged(current: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """The current content with the candidate's in place of it: tables entry by entry, all else as a whole."""
    merged = dict(current)
    for key, value in changed.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            merged[key] = _merged(old, value)
        else:
            merged[key] = value
    return merged


def _renamed(candidate: Configuration, current: Configuration) -> Configuration:
    """The candidate, told apart by its name where it has kept the current version's."""
    if candidate.policy.version != current.policy.version:
        return candidate
    return replace(candidate, policy=replace(candidate.policy, version=candidate.policy.version + _SAME_VERSION))


def _require_writable(target: Path | None) -> None:
    """Refuse a place that cannot be written to before minutes are spent.

    Raises:
        ReplayError: its folder does not exist.
    """
    if target is not None and not target.parent.is_dir():
        message = f"{target}: there is no folder {target.parent}"
        raise ReplayError(message)


def case_actions() -> frozenset[int]:
    """Actions that open a case, by the playbook."""
    responses = Playbook.from_mapping(configured_toml("", "playbook.toml")).responses
    return frozenset(int(action) for action, response in responses.items() if response.case is CaseHandling.OPEN)


def facts_of(transactions: Transactions, rates: RateTable) -> Facts:
    """What is true of the file: amounts, cards and labels."""
    amounts, currencies, kinds = [], [], []
    for start in range(0, len(transactions), SLAB_ROWS):
        columns = transactions.slab(start, min(start + SLAB_ROWS, len(transactions))).columns
        amounts.append(columns["amount_minor"])
        currencies.append(pack_letters(columns["currency"], CURRENCY_LETTERS))
        kinds.append(columns.get("kind", np.zeros(len(columns["amount_minor"]), dtype=np.int64)))
    amount, currency, kind = (np.concatenate(parts) for parts in (amounts, currencies, kinds))
    reference, _ = rates.convert(amount, currency)
    unknown = np.full(len(transactions), -1, dtype=np.int64)
    return Facts(
        event_time_ms=transactions.event_time_ms,
        card=transactions.card_numbers(),
        currency=currency,
        amount_reference=reference,
        spends=(kind == Kind.PURCHASE) | (kind == Kind.CASH),
        label=unknown if transactions.labels is None else transactions.labels,
    )


def _decide(name: str, replay: Replay, configured: Configuration) -> Decisions:
    """Replay the file under a configuration."""
    decided = pa.concat_tables(list(replay.run(Progress(len(replay), f"{name}: replayed"))))
    codes = pa.array([action.wire for action in Action])
    return Decisions(
        name=name,
        policy=configured.policy,
        action=pc.index_in(decided.column("action"), value_set=codes).to_numpy().astype(np.int64),
        flags=decided.column("flags").to_numpy(),
        score=decided.column("score").to_numpy(),
        reasons=decided.column("reasons").combine_chunks(),
    )


def _report(arguments: argparse.Namespace, judged: list[Judgement], sections: list[str]) -> dict[str, Any]:
    """Everything that is said, as JSON has it."""
    current, candidate = judged
    facts = current.facts
    return {
        "file": arguments.transactions.name,
        "candidate_file": arguments.candidate.name,
        "candidate_changes": sections,
        "first_ms": int(facts.event_time_ms[0]),
        "last_ms": int(facts.event_time_ms[-1]),
        "days": facts.day_count,
        "payments": len(facts),
        "frauds": int((facts.label == 1).sum()),
        "labelled": int((facts.label >= 0).sum()),
        "currency": current.terms.costs.reference_currency,
        "terms": {
            "costs_of_policy": current.terms.costs.version,
            "answer_after": arguments.answer_after,
            "wrong_within": arguments.wrong_within,
        },
        "current": current.as_json(),
        "candidate": candidate.as_json(),
        "changed": changes(current, candidate),
    }
