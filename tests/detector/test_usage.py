"""What state says of its own size: as many rows as are in use, whatever they hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from detector.engine import assess_batch
from detector.labels import apply_labels, build_label_batch
from detector.usage import TableUse, state_usage
from tests.detector.event_streams import START_MS
from tests.detector.test_engine import new_state, payments
from tests.detector.test_features_against_naive import CONFIG, KEY, model, policy


@pytest.mark.compiled
def test_usage_counts_what_is_there() -> None:
    """Cards, payments and shared entities are as many as the payments name; room is what was configured."""
    state = new_state()
    empty = {use.table: use.rows for use in state_usage(state)}
    assert empty == {"cards": 0, "payments": 0, "kept": 0, "events": 0, "entities": 0, "buckets": 0}
    assess_batch(state, payments(120, cards=20), model(), policy())
    used = {use.table: use for use in state_usage(state)}
    assert used["cards"].rows == 20
    assert used["payments"].rows == 120
    assert used["events"].rows >= 120
    assert used["entities"].rows >= 7 + 11
    assert used["cards"].capacity_rows == CONFIG.cards
    assert used.pop("kept") == TableUse("kept", 0, 0, 0)
    for use in used.values():
        assert 0 < use.rows <= use.capacity_rows
        assert use.size_bytes >= use.rows * 8
    state.drop_partition(0)
    assert {use.table: use.rows for use in state_usage(state)}["cards"] == 0


@pytest.mark.compiled
def test_labels_say_when_their_payment_was_and_what_was_answered() -> None:
    """Precision of alerts and delay of labels are counted from the payment as it was scored, not from the label."""
    state, batch = new_state(), payments(30)
    assessed = assess_batch(state, batch, model(), policy())
    rows = [3, 7, 29]
    labels: dict[str, list[Any]] = {
        "transaction_id": [f"t{row}" for row in rows],
        "card_token": [f"card{row % 20}" for row in rows],
        "label": [1, 0, 1],
        "label_time_ms": [START_MS + 90_000_000] * 3,
    }
    result = apply_labels(state, build_label_batch(labels, key=KEY))
    assert result.payment_time_ms.tolist() == batch.event_time_ms[rows].tolist()
    assert np.array_equal(result.action, assessed.action[rows])
