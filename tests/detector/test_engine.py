"""The engine's other promises: all or nothing, nothing twice, state that can be saved, room that runs out."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cardwatch.simulator import Simulator, WorldSettings
from detector.catalogue import CATALOGUE, DAY_MS, FEATURE_INDEX
from detector.engine import adopt_decision, alert_id_of, assess_batch
from detector.errors import ConfigurationError, ModelError, StaleOffsetError
from detector.labels import apply_labels, build_label_batch, mature
from detector.layout import BINS, ENTITIES, FORCED_EVICTIONS, LAST_TIME, PROGRESS
from detector.memory import LIVE, descriptor, table_rows
from detector.models.version import ModelVersion
from detector.rates import RateTable
from detector.recent import stored_reasons
from detector.state import EngineState, StateConfig
from detector.transactions import TransactionBatch, build_batch
from detector.vocabulary import Action, Flag, Kind, Label
from tests.columns import columns_of
from tests.detector.event_streams import START_MS
from tests.detector.saving import whole
from tests.detector.test_features_against_naive import CONFIG, KEY, model, policy

ROWS = 600
RATES = RateTable("test", "EUR", {"EUR": 1.0, "USD": 0.9})


def new_state(config: StateConfig = CONFIG) -> EngineState:
    state = EngineState(config, RATES)
    state.open_partition(0)
    return state


def payments(count: int, cards: int = 20, apart_ms: int = 60_000) -> TransactionBatch:
    records = [
        {
            "transaction_id": f"t{number}",
            "card_token": f"card{number % cards}",
            "event_time_ms": START_MS + number * apart_ms,
            "amount_minor": 100 + 37 * (number % 91),
            "currency": "EUR" if number % 3 else "USD",
            "merchant_id": f"merchant{number % 7}",
            "terminal_id": f"terminal{number % 11}",
        }
        for number in range(count)
    ]
    return build_batch(columns_of(records), key=KEY)


def answers(state: EngineState, batch: TransactionBatch) -> tuple[bytes, ...]:
    assessed = assess_batch(state, batch, model(), policy())
    return assessed.features.tobytes(), assessed.score.tobytes(), assessed.action.tobytes()


@pytest.mark.compiled
@pytest.mark.parametrize("failpoint", ["detector.engine.explain", "detector.engine.store_decisions"])
def test_an_error_leaves_the_state_as_it_was(failpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever raises after the walk, nothing of the batch remains, and the next try gives the same bits."""
    batch = payments(ROWS)
    state, untouched = new_state(), new_state()
    for other in (state, untouched):
        assess_batch(other, batch[:200], model(), policy())

    def fail(*_: object) -> None:
        message = "failpoint"
        raise RuntimeError(message)

    with monkeypatch.context() as patched:
        patched.setattr(failpoint, fail)
        with pytest.raises(RuntimeError, match="failpoint"):
            assess_batch(state, batch[200:], model(), policy())
    assert state.digest() == untouched.digest()
    assert state.partition(0).next_offset == 200
    assert answers(state, batch[200:]) == answers(untouched, batch[200:])


def test_an_error_in_one_piece_takes_back_the_pieces_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that spans weeks is assessed in pieces, and is still all or nothing."""
    batch = payments(60, apart_ms=20 * 3_600_000)
    state = new_state()
    before = state.digest()
    calls = iter(range(100))

    def fail_late(bins: Any) -> Any:
        if next(calls) == 3:
            message = "failpoint"
            raise RuntimeError(message)
        return np.zeros(len(bins))

    version = replace(model())
    monkeypatch.setattr(ModelVersion, "anomalies", lambda _, bins: fail_late(bins))
    with pytest.raises(RuntimeError, match="failpoint"):
        assess_batch(state, batch, version, policy())
    assert state.digest() == before
    assert state.partition(0).next_offset == 0


def test_offsets_are_applied_once() -> None:
    """A batch below the next offset is refused and changes nothing."""
    state, batch = new_state(), payments(50)
    assess_batch(state, batch, model(), policy())
    digest = state.digest()
    with pytest.raises(StaleOffsetError, match="offset 40"):
        assess_batch(state, batch[40:], model(), policy())
    assert state.digest() == digest


def test_saved_state_goes_on_as_if_nothing_had_happened() -> None:
    """A partition and the shared entities restored into another engine give the same bits from then on."""
    batch = payments(ROWS)
    state = new_state()
    assess_batch(state, batch[:400], model(), policy())
    other = EngineState(CONFIG, RATES)
    other.restore(0, whole(state.partition(0).changes))
    other.restore_shared(whole(state.shared_changes))
    assert other.digest() == state.digest()
    assert other.partition(0).next_offset == 400
    assert answers(other, batch[400:]) == answers(state, batch[400:])
    assert other.partition(0).names.texts == state.partition(0).names.texts


def test_a_duplicate_gets_the_decision_that_stands() -> None:
    """After recovery put back another decision, a duplicate is answered with that one, reasons included."""
    state, batch = new_state(), payments(30)
    assessed = assess_batch(state, batch, model(), policy())
    row = int(assessed.payment_row[7])
    adopt_decision(state, 0, row, (int(Action.FREEZE), int(Flag.LATE), 0.75, 0.5), ["impossible_travel"])
    again = build_batch(
        {
            "transaction_id": ["t7"], "card_token": ["card7"], "event_time_ms": [START_MS + 90 * 60_000],
            "amount_minor": [5], "currency": ["EUR"],
        },
        key=KEY, offset=np.array([30]),
    )  # fmt: skip
    answer = assess_batch(state, again, model(), policy())
    assert answer.action.tolist() == [Action.FREEZE]
    assert answer.score.tolist() == [0.75]
    assert answer.flags.tolist() == [int(Flag.LATE | Flag.DUPLICATE)]
    assert answer.reason_codes(0) == ["impossible_travel"]
    assert answer.evidence[0].alert_id == alert_id_of("card7", "t7")
    assert stored_reasons(state.partition(0), row) == ["impossible_travel"]


def test_the_model_with_labels_weighs_what_the_trees_say() -> None:
    """The anomaly score, as it is told, is a feature: in the matrix, in what is kept for learning, in the score."""
    state, batch = new_state(), payments(60)
    assessed = assess_batch(state, batch, model(), policy())
    column = FEATURE_INDEX["anomaly"]
    assert assessed.anomaly.any()
    assert assessed.features[:, column].tolist() == assessed.anomaly.astype(np.float32).tolist()
    bins = model().binner.bins(assessed.features)
    kept = table_rows(state.partition(0).memory, int(BINS)).view(np.uint8)[assessed.payment_row, : len(CATALOGUE)]
    assert kept.tolist() == bins.tolist()
    silent = bins.copy()
    silent[:, column] = 0
    assert (model().probabilities(silent) != model().probabilities(bins)).any()
    assert model().anomalies(silent).tobytes() == model().anomalies(bins).tobytes()


def test_an_adopted_answer_is_learned_as_it_was_scored() -> None:
    """The model that scored first may have been another: what is kept says what its trees said, not the new ones'."""
    state, batch = new_state(), payments(10)
    rows = assess_batch(state, batch, model(), policy()).payment_row
    column = FEATURE_INDEX["anomaly"]
    for score in (0.0, 0.02, 0.5, 0.9951, 1.0):
        adopt_decision(state, 0, int(rows[3]), (int(Action.ALLOW), 0, 0.1, score), [])
        kept = table_rows(state.partition(0).memory, int(BINS)).view(np.uint8)[rows[3], column]
        assert kept == bisect_right([np.float32(edge) for edge in CATALOGUE[column].grid], np.float32(score))


@pytest.mark.compiled
def test_a_full_table_forgets_the_stalest_and_goes_on() -> None:
    """More cards, merchants and payments than there is room for never stop the stream; it is counted."""
    config = replace(CONFIG, cards=64, events=256, payments=64, entities=64, buckets=1024)
    state = new_state(config)
    records = [
        {
            "transaction_id": f"t{number}", "card_token": f"card{number % 300}", "amount_minor": 100, "currency": "EUR",
            "event_time_ms": START_MS + number * 1000, "merchant_id": f"m{number % 200}", "terminal_id": f"t{number}",
        }
        for number in range(2_000)
    ]  # fmt: skip
    assessed = assess_batch(state, build_batch(columns_of(records), key=KEY), model(), policy())
    assert np.isfinite(assessed.score).all()
    assert table_rows(state.partition(0).memory, int(PROGRESS))[1, FORCED_EVICTIONS] > 0


def test_unlabelled_payments_become_genuine_once() -> None:
    """At the configured age a payment without a label is a genuine example; one with a label is not asked again."""
    state, batch = new_state(replace(CONFIG, maturity_ms=1_000_000)), payments(30)
    assess_batch(state, batch, model(), policy())
    fraud: dict[str, Any] = {
        "transaction_id": ["t3"], "card_token": ["card3"], "label": [int(Label.FRAUD)],
        "label_time_ms": [START_MS + 500_000],
    }  # fmt: skip
    apply_labels(state, build_label_batch(fraud, key=KEY))
    now_ms = START_MS + 1_000_000 + 9 * 60_000
    examples = mature(state, 0, now_ms).examples
    assert len(examples) == 9
    assert set(examples.label.tolist()) == {int(Label.GENUINE)}
    assert (examples.label_time_ms <= now_ms).all()
    assert len(mature(state, 0, now_ms).examples) == 0


def test_labels_meet_the_bins_as_they_were_scored() -> None:
    """Whatever happened to the card since, an example holds the very bins that were scored."""
    state, batch = new_state(), payments(ROWS)
    assessed = assess_batch(state, batch, model(), policy())
    rows = [5, 77, 400]
    labels: dict[str, Any] = {
        "transaction_id": [batch.transaction_id[row] for row in rows],
        "card_token": [batch.card_token[row] for row in rows],
        "label": [1, 0, 1],
        "label_time_ms": [START_MS + 10**8] * 3,
    }
    result = apply_labels(state, build_label_batch(labels, key=KEY))
    assert result.examples.bins.tobytes() == model().binner.bins(assessed.features[rows]).tobytes()
    assert result.examples.label.tolist() == [1, 0, 1]
    again = apply_labels(state, build_label_batch(labels, key=KEY, offset=np.arange(3, 6)))
    assert again.counts == {"applied": 0, "unknown": 0, "repeated": 3, "corrected": 0, "late": 0}


def test_scores_are_whole_billionths() -> None:
    """Nine decimals say a score to the last bit; it is the model's, rounded, and 0 for what is no payment."""
    batch, state = payments(60), new_state()
    assessed = assess_batch(state, batch, model(), policy())
    bins = model().binner.bins(assessed.features)
    raw_scores = model().probabilities(bins), model().anomalies(bins)
    for told, raw in zip((assessed.score, assessed.anomaly), raw_scores, strict=True):
        assert told.tolist() == [round(value * 1e9) / 1e9 for value in raw.tolist()]
        assert [float(f"{value:.9f}") for value in told.tolist()] == told.tolist()
    record = {
        "transaction_id": ["t1", "r1"], "card_token": ["card1"] * 2, "event_time_ms": [START_MS + 10**8] * 2,
        "amount_minor": [5] * 2, "currency": ["EUR"] * 2, "kind": [0, int(Kind.REVERSAL)], "refers_to": [None, "t2"],
    }  # fmt: skip
    again = assess_batch(state, build_batch(record, key=KEY, offset=np.array([60, 61])), model(), policy())
    assert again.score.tolist() == [assessed.score[1], 0.0]
    assert again.flags[0] & Flag.DUPLICATE


def test_a_late_label_of_what_was_forgotten_takes_room_for_a_while_only() -> None:
    """It brings entities back that no query can see; they are swept again, and saved state knows the same ones."""
    state = new_state()
    assess_batch(state, payments(50), model(), policy())
    later = START_MS + 100 * DAY_MS
    record = {"card_token": "other", "amount_minor": 5, "currency": "EUR"}

    def be_quiet(first: int) -> int:
        """Payments that name nobody, so that the sweep goes round; returns how many entities are left."""
        quiet = [record | {"transaction_id": f"q{n}", "event_time_ms": later + n} for n in range(first, first + 200)]
        batch = build_batch(columns_of(quiet), key=KEY, offset=np.arange(first, first + 200))
        assess_batch(state, batch, model(), policy())
        return int(descriptor(state.shared, int(ENTITIES))[LIVE])

    # What a batch may sweep was decided before it began.
    be_quiet(50)
    assert be_quiet(250) == 0
    label: dict[str, Any] = {
        "transaction_id": ["t3"], "card_token": ["card3"], "label": [1], "label_time_ms": [later],
    }  # fmt: skip
    apply_labels(state, build_label_batch(label, key=KEY))
    brought_back = int(descriptor(state.shared, int(ENTITIES))[LIVE])
    assert brought_back == int((table_rows(state.shared, int(ENTITIES))[:, LAST_TIME] > 0).sum()) > 0
    assert be_quiet(450) == 0


def test_a_model_of_another_catalogue_is_refused() -> None:
    """A model that was made for other features never scores."""
    with pytest.raises(ModelError, match="catalogue"):
        assess_batch(new_state(), payments(3), replace(model(), catalogue_digest="other"), policy())


@pytest.mark.parametrize(
    ("field", "value"),
    [("fingerprint_key", b"short"), ("cards", 3), ("lateness_ms", 0), ("identity_memory_ms", 10**12)],
)
def test_a_configuration_that_cannot_work_is_named(field: str, value: Any) -> None:
    """Capacities, times and the key are checked before anything is reserved."""
    with pytest.raises(ConfigurationError, match=field):
        replace(CONFIG, **{field: value})


@pytest.mark.compiled
def test_a_simulated_day_is_assessed_and_remembered() -> None:
    """On the simulator's stream every record has a score between 0 and 1, and all are applied."""
    stream = Simulator(WorldSettings(seed=5, cards=100)).stream(START_MS)
    columns = stream.columns(2_000)
    state = new_state(replace(CONFIG, cards=400, entities=20_000, buckets=800_000, events=100_000))
    batch = build_batch(columns, key=KEY)
    assessed = assess_batch(state, batch, model(), policy())
    assert np.isfinite(assessed.score).all()
    assert ((assessed.score >= 0) & (assessed.score <= 1)).all()
    assert state.partition(0).next_offset == 2_000
