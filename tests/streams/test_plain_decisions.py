"""Plain decisions: the fast ways and the full way say the same, and all is JSON whatever ids look like."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from detector.shadows import Shadow
from detector.transactions import TransactionBatch
from detector.vocabulary import SCORE_UNITS, Flag
from streams.encoding import encode_full
from streams.plain_decisions import _write, _write_singly, encode_plain
from tests.streams.raw_records import NOW_MS
from tests.streams.stand_in import Assessed
from tests.streams.test_encoding import VERSIONS, assessed_of, batch_of

ids = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"]), min_size=1, max_size=64)
billionths = st.integers(0, SCORE_UNITS).map(lambda units: units / SCORE_UNITS)


@dataclass(frozen=True, kw_only=True)
class Marked(Assessed):
    """Assessments with flags, rules and losses of their own."""

    marks: NDArray[np.int64]
    hits: NDArray[np.int64]
    losses: NDArray[np.int64]
    anomalies: NDArray[np.float64]

    @property
    def flags(self) -> NDArray[np.int64]:
        return self.marks

    @property
    def rule_hits(self) -> NDArray[np.int64]:
        return self.hits

    @property
    def expected_loss_minor(self) -> NDArray[np.int64]:
        return self.losses

    @property
    def anomaly(self) -> NDArray[np.float64]:
        return self.anomalies


def marked(batch: TransactionBatch, **columns: Any) -> Marked:
    made, count = assessed_of(batch), len(batch)
    given_columns = {"marks": 0, "hits": 0, "losses": 0, "anomalies": 0.0, "score": 0.0} | columns
    arrays: dict[str, Any] = {
        name: np.broadcast_to(np.array(column), (count,)).astype(np.float64 if name in {"anomalies", "score"} else int)
        for name, column in given_columns.items()
    }
    shared = {name: getattr(made, name) for name in ("batch", "action", "evidence", "unlabelled")}
    return Marked(**shared, **arrays)


@given(
    st.lists(ids, min_size=1, max_size=5),
    billionths | st.floats(0, 1),
    billionths,
    st.integers(0, 31),
    st.integers(0, 10**15),
)
def test_the_fast_way_says_what_the_full_way_says(
    transactions: list[str], score: float, anomaly: float, flags: int, loss: int
) -> None:
    """Any id that the codec takes is written as valid JSON, with scores to the last bit."""
    assessed = marked(batch_of(transactions), marks=flags, losses=loss, anomalies=anomaly, score=score)
    plain = encode_plain(assessed, VERSIONS)
    assert plain.is_plain.all()
    messages = plain.messages(np.arange(len(plain)))
    for row, value in enumerate(plain):
        full = encode_full(assessed, VERSIONS, row, timestamp_ms=1, now_ms=NOW_MS, traceparent=None)
        assert value is not None
        assert json.loads(value) == json.loads(full.value or b"")
        assert json.loads(value)["score"] == score
        assert json.loads(value)["transaction_id"] == transactions[row]
        assert messages[row] == {"key": full.key, "value": value}


def shadowed(assessed: Marked, names: list[str], score: float, action: int) -> Marked:
    """The same, with some that do not act."""
    count = len(assessed.batch)
    shadows = [
        Shadow(name, f'policy "{number}"', np.full(count, score), np.full(count, (action + number) % 5))
        for number, name in enumerate(names)
    ]
    return replace(assessed, shadows=shadows)


@given(
    st.lists(ids, min_size=1, max_size=5), st.lists(st.text(min_size=1, max_size=64), max_size=3), billionths,
    st.integers(0, 4), st.integers(0, 31),
)  # fmt: skip
def test_what_does_not_act_is_told_alike(
    transactions: list[str], names: list[str], score: float, action: int, flags: int
) -> None:
    """The kernel, its slow twin and the full way name the same models, policies, scores and actions."""
    assessed = shadowed(marked(batch_of(transactions), marks=flags, score=score), names, score, action)
    told = 0 if flags & Flag.DUPLICATE else len(names)
    for row, value in enumerate(encode_plain(assessed, VERSIONS)):
        body = json.loads(value or b"")
        full = encode_full(assessed, VERSIONS, row, timestamp_ms=1, now_ms=NOW_MS, traceparent=None)
        assert body == json.loads(full.value or b"") == json.loads(_write_singly(assessed, VERSIONS, row))
        assert len(body.get("shadow", [])) == told
        for number, each in enumerate(body.get("shadow", [])):
            assert each == {
                "model": names[number], "policy": f'policy "{number}"', "score": score,
                "action": ["ALLOW", "STEP_UP", "REVIEW", "DECLINE", "FREEZE"][(action + number) % 5],
            }  # fmt: skip


@given(st.lists(ids, min_size=1, max_size=5), billionths, billionths, st.integers(0, 31), st.integers(0, 10**15))
def test_the_kernel_equals_its_slow_twin(
    transactions: list[str], score: float, anomaly: float, flags: int, loss: int
) -> None:
    """Field by field in the same order; it writes every row but those with ids that JSON must escape."""
    assessed = marked(batch_of(transactions), marks=flags, losses=loss, anomalies=anomaly, score=score)
    written = _write(assessed, VERSIONS, np.ones(len(transactions), dtype=np.bool_))
    for row, transaction in enumerate(transactions):
        value = written.buffer[written.starts[row] : written.ends[row]].tobytes()
        assert bool(value) == (json.dumps(transaction, ensure_ascii=False) == f'"{transaction}"')
        if value:
            slow = json.loads(_write_singly(assessed, VERSIONS, row))
            assert list(json.loads(value).items()) == list(slow.items())


@pytest.mark.parametrize("units", [0, 1, 10, 999_999_999, 500_000_000, 123_456_789, 120_000_000, SCORE_UNITS])
def test_scores_read_back_to_the_bit(units: int) -> None:
    """Nine decimals say every score that the engine makes, as numbers of JSON that have a decimal point."""
    assessed = marked(batch_of(["a"]), score=units / SCORE_UNITS, anomalies=units / SCORE_UNITS)
    written = _write(assessed, VERSIONS, np.ones(1, dtype=np.bool_))
    body = json.loads(written.buffer[: written.ends[0]].tobytes())
    assert (body["score"], body["anomaly"]) == (units / SCORE_UNITS, units / SCORE_UNITS)
    assert isinstance(body["score"], float)


def test_only_plain_rows_go_the_fast_way() -> None:
    """What is not ALLOW, or has a score that JSON cannot carry, is left to the full way."""
    batch = batch_of(["a", "b"])
    assert list(encode_plain(assessed_of(batch, action=4), VERSIONS)) == [None, None]
    for broken in (float("nan"), float("inf")):
        assert list(encode_plain(assessed_of(batch, score=broken), VERSIONS)) == [None, None]
    mixed = replace(assessed_of(batch), action=np.array([4, 0]))
    plain = encode_plain(mixed, VERSIONS)
    assert plain.is_plain.tolist() == [False, True]
    assert json.loads(plain.messages(np.array([1]))[0]["value"])["transaction_id"] == "b"
    assert plain[:1] == [None]


def test_rules_and_flags_are_written_by_name() -> None:
    """Bits become the words of the contract."""
    assessed = marked(batch_of(["a"]), marks=int(Flag.LATE | Flag.COLD_START), hits=2)
    body = json.loads(encode_plain(assessed, VERSIONS)[0] or b"")
    assert body["flags"] == ["late", "cold_start"]
    assert body["rules"] == ["rule-b"]


def test_messages_stand_in_the_order_that_is_asked_for() -> None:
    """Whichever way each was written, and wherever a batch is cut."""
    batch = batch_of(["a", 'b"', "c", "d\\"])
    plain = encode_plain(assessed_of(batch), VERSIONS)
    found = [json.loads(message["value"])["transaction_id"] for message in plain.messages(np.array([1, 2, 3]))]
    assert found == ['b"', "c", "d\\"]
    part = encode_plain(assessed_of(batch[2:]), VERSIONS)
    assert [json.loads(value or b"")["source"]["offset"] for value in part] == [12, 13]
