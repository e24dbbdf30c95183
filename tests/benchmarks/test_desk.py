"""The closed cases that the desk is measured with are such as the history role writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import closed_cases
from benchmarks.closed_cases import COMMON_WORD, RARE_WORDS
from casework.adapters.sql_history.store import SqlHistory
from casework.cases import Case
from casework.history import HistoryFilters
from casework.ids import case_id_of


@pytest.mark.slow
def test_every_copy_is_a_case_of_its_own(tmp_path: Path) -> None:
    """Each is found by its own names, says the same in its columns and its body, and has times of its own."""
    url = f"sqlite:///{tmp_path / 'cases.db'}"
    filled = closed_cases.fill(url, 5_000, tmp_path, lambda _: None)
    assert filled.cases == 6_000
    history = SqlHistory(url)

    def found(text: str, **narrowed: object) -> list[Case]:
        return list(history.find(HistoryFilters(text=text, **narrowed), None, 100).cases)  # type: ignore[arg-type]

    (case,) = found(filled.card_token)
    assert case.card_token == filled.card_token
    assert case.case_id == filled.case_id == case_id_of(case.card_token.replace("tok-", "al-"), case.card_token)
    assert case.transaction_ids == (filled.transaction_id,)
    for text in (filled.transaction_id, filled.case_id, filled.reference):
        assert found(text) == [case]
    assert found(filled.card_token, closed_from_ms=case.closed_ms, closed_before_ms=(case.closed_ms or 0) + 1) == [case]
    first = filled.card_token.replace("x000001x", "x000000x")
    (played,) = found(first)
    shift_ms = case.opened_ms - played.opened_ms
    assert shift_ms > 0
    assert case.closed_ms == (played.closed_ms or 0) + shift_ms
    assert len(found(COMMON_WORD)) == 100
    assert {len(found(f"{COMMON_WORD} {word}")) > 0 for word in RARE_WORDS} == {True}
    assert len(found(filled.merchant_id)) >= 3
    history.close()
