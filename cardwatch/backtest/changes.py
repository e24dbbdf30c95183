"""What a candidate decides differently, by action and by reason."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cardwatch.backtest.judge import Facts, Judgement
from detector.vocabulary import Action, Label

_NO_REASON = "none"


def changes(current: Judgement, candidate: Judgement) -> dict[str, Any]:
    """Payments decided differently.

    Returns:
        How many; `by_action`, from one action to another; `by_reason`, by the first reason of the more severe of both
        decisions and whether the candidate is stricter; cards frozen by one and not by the other. Every entry says how
        many were frauds and genuine, and for how much money.
    """
    facts = current.facts
    before, after = current.decisions, candidate.decisions
    differs = (before.action != after.action) & before.first & after.first
    rows = np.flatnonzero(differs)
    stricter = after.action > before.action
    reasons = _first_reasons(current, candidate, rows, stricter)
    by_reason = [
        {
            "reason": reason,
            "candidate_is": word,
            **_counts(facts, rows[(reasons == reason) & (stricter[rows] == is_so)]),
        }
        for is_so, word in ((True, "stricter"), (False, "milder"))
        for reason in sorted(set(reasons[stricter[rows] == is_so].tolist()))
    ]
    by_action = [
        {
            "from": old.wire,
            "to": new.wire,
            **_counts(facts, rows[(before.action[rows] == old) & (after.action[rows] == new)]),
        }
        for old in Action
        for new in Action
        if old is not new
    ]
    return {
        "payments": len(rows),
        "share": len(rows) / max(int(before.first.sum()), 1),
        "saved_more_minor": candidate.by_costs()["saved_minor"] - current.by_costs()["saved_minor"],
        "by_action": [entry for entry in by_action if entry["payments"]],
        "by_reason": sorted(by_reason, key=lambda entry: (-entry["payments"], entry["reason"], entry["candidate_is"])),
        "cards": _cards(current, candidate),
    }


def _counts(facts: Facts, rows: NDArray[np.int64]) -> dict[str, int]:
    """How many rows, what they were, and their money."""
    label = facts.label[rows]
    return {
        "payments": len(rows),
        "frauds": int((label == Label.FRAUD).sum()),
        "genuine": int((label == Label.GENUINE).sum()),
        "fraud_minor": int(facts.amount_reference[rows][label == Label.FRAUD].sum()),
        "genuine_minor": int(facts.amount_reference[rows][label == Label.GENUINE].sum()),
    }


def _first_reasons(
    current: Judgement, candidate: Judgement, rows: NDArray[np.int64], stricter: NDArray[np.bool_]
) -> NDArray[np.str_]:
    """For each row the first reason of the more severe decision."""
    found = []
    for row in rows.tolist():
        codes = (candidate if stricter[row] else current).decisions.reasons[row].as_py()
        found.append(codes[0] if codes else _NO_REASON)
    return np.array(found, dtype=np.str_)


def _cards(current: Judgement, candidate: Judgement) -> dict[str, int]:
    """Cards that only one of both freezes, and cards that only one freezes wrongly."""
    old, new = (set(each.facts.card[each.freeze_rows].tolist()) for each in (current, candidate))
    old_wrong, new_wrong = current.wrongly_frozen_cards, candidate.wrongly_frozen_cards
    return {
        "frozen_by_current_only": len(old - new),
        "frozen_by_candidate_only": len(new - old),
        "wrongly_frozen_by_current_only": len(old_wrong - new_wrong),
        "wrongly_frozen_by_candidate_only": len(new_wrong - old_wrong),
    }
