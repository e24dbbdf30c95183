"""A model version scores as its models do, explains itself, and is data that is read without trust."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.errors import ModelError
from detector.models import ModelVersion, Trainer, archive, codec
from detector.models.calibration import identity_offsets
from detector.models.fields import Fields
from tests.detector.models.helpers import (
    DIGEST,
    GRIDS,
    binner,
    fields,
    models_config,
    random_bins,
    random_examples,
    told,
)


def trained(seed: int = 1, rows: int = 400) -> Trainer:
    trainer = Trainer(models_config(), GRIDS, DIGEST)
    trainer.learn(random_examples(seed, rows))
    return trainer


def parts(version: ModelVersion) -> tuple[dict[str, Any], dict[str, Any]]:
    """An archive's content, to be tampered with and packed again with a digest that fits."""
    return archive.unpack(version.to_bytes())


def test_scores_as_its_models_do() -> None:
    """A version's compiled scores are the learners' own, calibrated."""
    trainer = trained()
    bins = random_bins(8, 300)
    version = trainer.version("m-000001", 0)
    score, anomaly = told(version, bins)
    raw = replace(version, offsets=identity_offsets()).probabilities(bins)
    assert raw.tobytes() == trainer.logistic.predict_proba_many(bins).tobytes()
    assert anomaly.tobytes() == trainer.half_space.score_many(bins).tobytes()
    assert anomaly.any()
    assert version.offsets.any()
    order = np.argsort(raw, kind="stable")
    assert (np.diff(score[order]) >= 0).all()


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 60), max_size=8))
@settings(max_examples=25)
def test_cuts_do_not_change_a_bit(seed: int, cuts: list[int]) -> None:
    """A row's scores do not depend on the rows beside it."""
    version = trained().version("m-000001", 0)
    bins = random_bins(seed, 60)
    whole = told(version, bins)
    pieces = [told(version, piece) for piece in np.split(bins, sorted(cuts))]
    for column in range(2):
        assert np.concatenate([piece[column] for piece in pieces]).tobytes() == whole[column].tobytes()


def test_cold_version_scores_its_initial_belief() -> None:
    """Before anything is learned every payment has the same small score and no anomaly."""
    version = Trainer(models_config(), GRIDS, DIGEST).version("m-000000", 0)
    score, anomaly = told(version, random_bins(1, 20))
    assert score.tolist() == [1.0 / (1.0 + np.exp(1.0))] * 20
    assert not anomaly.any()
    assert version.is_cold
    assert np.isnan(version.usual_values).all()
    assert not version.contributions(random_bins(1, 20)).any()


def test_contributions_add_up_to_the_score() -> None:
    """The average's log-odds and a row's contributions make the row's log-odds: nothing is left unexplained."""
    version = replace(trained().version("m-000001", 0), offsets=identity_offsets())
    bins = random_bins(21, 100)
    log_odds = version.base_log_odds + version.contributions(bins).sum(axis=1)
    assert 1.0 / (1.0 + np.exp(-log_odds)) == pytest.approx(version.probabilities(bins), abs=1e-12)


def test_contributions_equal_naive_twin() -> None:
    """A field's contribution is its weight over its mean in what was learned, in equal shares for its features."""
    version = trained().version("m-000001", 0)
    bins = random_bins(22, 40)
    expected = np.zeros((40, 4))
    for row, slots in enumerate(version.fields.slots(bins)):
        for field, slot in enumerate(slots):
            columns = version.fields.columns_of(field)
            expected[row, columns] += (version.weights[slot] - version.means[field]) / len(columns)
    assert version.means.any()
    assert version.contributions(bins) == pytest.approx(expected, abs=1e-12)


def test_usual_values_are_of_the_median_bin() -> None:
    """The usual value comes from the middle of what was learned, missing values aside."""
    trainer = Trainer(models_config(), GRIDS, DIGEST)
    features = np.full((80, 4), np.nan, dtype=np.float32)
    features[::16, 0] = [5.0, 5.0, 5.0, 1e6, 0.0]
    features[:, 1] = 99.0
    features[:, 2] = 0.0
    trainer.logistic.learn_many(trainer.binner.bins(features), np.zeros(80))
    usual = trainer.version("m-000001", 0).usual_values
    assert usual[:3].tolist() == [6.25, 8.0, 0.0]
    assert np.isnan(usual[3])


def test_anomaly_level_is_exceeded_by_its_share() -> None:
    """A share of what was scored lies above its level; too few scores know no level."""
    version = trained(rows=3_000).version("m-000001", 0)
    known = version.anomaly_sample[: version.anomalies_sampled]
    assert len(known) > 1_000
    for share in (0.001, 0.01, 0.1, 0.5):
        level = version.anomaly_level(share)
        assert (known > level).sum() <= share * len(known)
        assert (known >= level).sum() > share * len(known)
    assert version.anomaly_level(0.0) == version.anomaly_level(1e-9) == float("inf")
    assert Trainer(models_config(), GRIDS, DIGEST).version("m", 0).anomaly_level(0.5) == float("inf")


def test_bytes_make_the_same_version() -> None:
    """To bytes and back: equal content, equal bytes, the same scores, and a trainer that goes on alike."""
    version = trained().version("m-000001", 77)
    again = ModelVersion.from_bytes(version.to_bytes())
    assert again.to_bytes() == version.to_bytes()
    for name in (*codec.LINEAGE, *codec.OWN):
        assert getattr(again, name) == getattr(version, name)
    bins = random_bins(5, 50)
    for one, other in zip(told(again, bins), told(version, bins), strict=True):
        assert one.tobytes() == other.tobytes()
    assert again.contributions(bins).tobytes() == version.contributions(bins).tobytes()


def test_version_cannot_be_changed() -> None:
    """A published version stays as it is, whatever its holder or the trainer does next."""
    trainer = trained()
    version = trainer.version("m-000001", 0)
    before = version.to_bytes()
    trainer.learn(random_examples(9, 100))
    assert version.to_bytes() == before
    with pytest.raises(ValueError, match="read-only"):
        version.weights[0] = 1.0


def test_republished_version_is_the_next_one() -> None:
    """Put back by a person: the old weights, the newest place in the log, and a verdict of who was replaced."""
    old, newest = trained().version("m-000001", 10), trained(2).version("m-000007", 70)
    made = ModelVersion.from_bytes(
        old.republished("m-000008", newest, "rolled_back_by_hand", 123, ("ana", "as told")).to_bytes()
    )
    assert (made.name, made.created_from, made.examples_offset) == ("m-000008", "m-000001", 70)
    assert made.weights.tobytes() == old.weights.tobytes()
    (verdict,) = made.verdicts
    assert (verdict.kind, verdict.winner, verdict.loser) == ("rolled_back_by_hand", "m-000001", "m-000007")
    assert (verdict.actor, verdict.note) == ("ana", "as told")


def test_version_of_another_catalogue_is_refused() -> None:
    """Columns that mean something else are never scored."""
    version = trained().version("m-000001", 0)
    version.require_catalogue(DIGEST)
    with pytest.raises(ModelError, match="catalogue"):
        version.require_catalogue("other")


class _Bomb:
    """What a pickle would run."""

    def __reduce__(self) -> tuple[Any, ...]:
        message = "a pickle was loaded"
        return (pytest.fail, (message,))


def _with_pickled_array() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, meta=np.array([_Bomb()], dtype=object), digest=np.zeros(32, np.uint8))
    return buffer.getvalue()


def _with_claimed_size() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
        for name in ("meta.npy", "digest.npy"):
            opened.writestr(name, bytes(300 * 2**20))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [b"", b"model", pickle.dumps({"weights": [1.0]}), _with_pickled_array(), _with_claimed_size()],
    ids=["empty", "text", "pickle", "pickled_array", "zip_bomb"],
)
def test_foreign_bytes_are_refused(data: bytes) -> None:
    """A file from somewhere else is data: no pickle is loaded, no bomb unpacked, and the error is a ModelError."""
    with pytest.raises(ModelError):
        ModelVersion.from_bytes(data)


@given(st.data())
@settings(max_examples=60)
def test_damaged_bytes_are_refused(data: st.DataObject) -> None:
    """Any change of content is found by the digest, and whatever is read is refused as a ModelError."""
    whole = bytearray(trained().version("m-000001", 0).to_bytes())
    position = data.draw(st.integers(0, len(whole) - 1))
    whole[position] ^= data.draw(st.integers(1, 255))
    try:
        version = ModelVersion.from_bytes(bytes(whole))
    except ModelError:
        return
    # The zip format has bytes that mean nothing, as times and permissions: then the content is unharmed.
    assert version.to_bytes() == trained().version("m-000001", 0).to_bytes()


_NAN = float("nan")
_VERDICT: dict[str, Any] = {
    "kind": "promoted", "winner": "a", "loser": "b", "label_time_ms": 1, "frauds": 300.0, "gain": 0.1, "evidence": 20.0,
    "actor": "contest", "note": "",
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("champion.slots", lambda a: a[:-1]),
        ("champion.slots", lambda a: a[::-1]),
        ("champion.slots", lambda a: a - a[0] - 1),
        ("champion.slots", lambda a: a + 10**6),
        ("champion.slot_weights", lambda a: a.astype(np.float32)),
        ("champion.slot_weights", lambda a: a + _NAN),
        ("champion.slot_weights", lambda a: a + 1e9),
        ("champion.slot_squares", lambda a: a - 1e9),
        ("champion.offsets", lambda a: a[:-1]),
        ("champion.offsets", lambda a: a + _NAN),
        ("champion.means", lambda a: a + np.inf),
        ("champion.bin_counts", lambda a: a - 1.0),
        ("champion.bin_counts", lambda a: a[:, 1:]),
        ("champion.usual_rows", lambda a: a - 1e9),
        ("champion.rows", lambda a: a - 10**6),
        ("champion.standing.window", lambda a: a[1:]),
        ("champion.standing.window", lambda a: a + np.inf),
        ("champion.standing.place", lambda a: a + 16),
        ("champion.standing.told", lambda a: a + 1e9),
        ("champion.intercept", lambda a: np.append(a, 1.0)),
        ("champion.intercept", lambda a: a + np.inf),
        ("trees.columns", lambda a: a + 1000),
        ("trees.columns", lambda a: a - 1000),
        ("trees.columns", lambda a: a[:, :-1]),
        ("trees.columns", lambda a: a[0]),
        ("trees.limits", lambda a: a[:-1]),
        ("trees.current_mass", lambda a: a - 1),
        ("trees.reference_mass", lambda a: a + 10**9),
        ("trees.reference_mass", lambda a: a[:, 1:]),
        ("trees.progress", lambda a: a + 1000),
        ("trees.progress", lambda a: a + 2),
        ("anomaly_sample", lambda a: a[:-1]),
        ("anomaly_sample", lambda a: a + 2),
        ("anomaly_sample", lambda a: a[::-1]),
        ("edges", lambda a: a[::-1]),
        ("edges", lambda a: a.astype(np.float64)),
        ("edge_starts", lambda a: a * 0),
        ("edge_starts", lambda a: a + 1),
    ],
)
def test_arrays_that_no_trainer_makes_are_refused(name: str, changed: Any) -> None:
    """Even with a digest that fits, a kernel never sees another shape, type or index than it was written for."""
    meta, arrays = parts(trained().version("m-000001", 0))
    arrays[name] = changed(arrays[name])
    with pytest.raises(ModelError):
        ModelVersion.from_bytes(archive.pack(meta, arrays))


@pytest.mark.parametrize(
    "change",
    [
        {"format": 1},
        {"name": 3},
        {"examples_offset": -1},
        {"frauds_learned": 1.5},
        {"frauds_learned": True},
        {"window": 0},
        {"features": "amount"},
        {"features": ["amount"]},
        {"contenders": [{"fields": [["amount"]]}]},
        {"contenders": [{"fields": ["amount x colour"]}]},
        {"contenders": [{"fields": []}]},
        {"contenders": [{"fields": ["*"]}]},
        {"contenders": [{"log_loss": _NAN}]},
        {"contenders": [{"log_loss": True}]},
        {"contenders": [{"model": ""}]},
        {"contenders": [{"model": "a" * 65}]},
        {"contenders": [{"model": "\x1b[2J"}]},
        {"contenders": [{}, {}]},
        {"contenders": []},
        {"contenders": "champion"},
        {"contenders": ["champion"]},
        {"compared": ["champion"]},
        {"compared": "x"},
        {"has_drift": True},
        {"has_drift": 1},
        {"trained_to_ms": 10**18},
        {"anomalies_sampled": 10**30},
        {"created_from": "\n"},
        {"verdicts": None},
        {"verdicts": [{}]},
        {"verdicts": [dict.fromkeys(_VERDICT)]},
        {"verdicts": [_VERDICT | {"label_time_ms": 1e300}]},
        {"verdicts": [_VERDICT | {"gain": float("inf")}]},
        {"verdicts": [_VERDICT | {"note": "\x1b]0;\x07"}]},
        {"verdicts": [_VERDICT] * 10_001},
    ],
)
def test_values_that_no_trainer_writes_are_refused(change: dict[str, Any]) -> None:
    """The same holds for names, counts and fields."""
    meta, arrays = parts(trained().version("m-000001", 0))
    if isinstance(change.get("contenders"), list):
        own = meta["contenders"][0]
        change = {"contenders": [own | each if isinstance(each, dict) else each for each in change["contenders"]]}
    with pytest.raises(ModelError):
        ModelVersion.from_bytes(archive.pack({**meta, **change}, arrays))


def test_other_content_is_refused() -> None:
    """An array too many, one too few, or a text that is no table."""
    meta, arrays = parts(trained().version("m-000001", 0))
    with pytest.raises(ModelError):
        ModelVersion.from_bytes(archive.pack(meta, {**arrays, "more": arrays["champion.rows"]}))
    with pytest.raises(ModelError):
        ModelVersion.from_bytes(archive.pack(meta, {k: v for k, v in arrays.items() if k != "champion.rows"}))
    listed: Any = json.loads("[1]")
    with pytest.raises(ModelError):
        ModelVersion.from_bytes(archive.pack(listed, arrays))


def test_version_is_checked_when_made() -> None:
    """A version made in memory keeps the same promises as one that was read."""
    version = trained().version("m-000001", 0)
    with pytest.raises(ModelError, match="weights"):
        replace(version, fields=Fields(binner()))
    assert replace(version, fields=fields()).fields == fields()
