"""Poisoning over the wire: labels as records of `fraud.labels.v1`, as far as the models that learn from them.

One agent, merchant or card that lies in every label may move the models as far as its cap, however often it lies.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from detector.catalogue import DAY_MS
from detector.examples import Examples
from detector.models import ModelsConfig, Trainer
from detector.models.logistic import Caps
from detector.policy import Policy
from detector.rates import RateTable
from detector.state import EngineState, StateConfig
from detector.vocabulary import Label
from streams.card_numbers import CardNumberCheck
from streams.codecs import Decoded, LabelCodec, TransactionCodec
from streams.detector_core import DetectorCore
from streams.records import ReadRecord
from tests.detector.policy_inputs import shipped
from tests.streams.raw_records import NOW_MS, raw

pytestmark = pytest.mark.compiled
KEY = bytes(range(16))
_FUTURE_MS = 300_000
# Honest labels first: every fiftieth payment is a fraud of a large amount. Then one source calls plain ones fraud.
_HONEST, _ATTACKED = 4_000, 4_000
_CAPS = Caps(labeller=5.0, merchant=5.0, card=5.0)


def _raw(values: list[dict[str, Any]], first: int) -> list[ReadRecord]:
    return [raw(json.dumps(value).encode(), first + row) for row, value in enumerate(values)]


def _payment(number: int, **changed: str) -> dict[str, Any]:
    is_fraud = number % 50 == 0
    plain = {
        "transaction_id": f"t{number}", "card_token": f"card-{number}", "merchant_id": f"mer-{number}",
        "event_time_ms": NOW_MS - DAY_MS + number * 1_000, "currency": "EUR",
        "amount_minor": 90_000 if is_fraud else 2_000,
    }  # fmt: skip
    return plain | changed


def _label(payment: dict[str, Any], labelled_by: str, label: str = "") -> dict[str, Any]:
    truth = "fraud" if payment["amount_minor"] > 50_000 else "genuine"
    return {
        "transaction_id": payment["transaction_id"], "card_token": payment["card_token"], "label": label or truth,
        "source": "agent", "label_time_ms": payment["event_time_ms"] + 3_600_000, "labelled_by": labelled_by,
    }  # fmt: skip


class _Wire:
    """Records in, what the learner believes of plain payments out."""

    def __init__(self, caps: Caps) -> None:
        config = ModelsConfig.from_mapping(shipped("models.toml"))
        # With all features the models would tell the liar apart, and believe it of the liar alone.
        logistic = replace(config.logistic, fields=("amount", "hour"))
        self.trainer = Trainer(replace(config, caps=caps, logistic=logistic))
        state = EngineState(
            StateConfig(KEY, cards=8_192, events=65_536, payments=8_192, entities=16_384, buckets=262_144),
            RateTable("test", "EUR", {"EUR": 1.0}),
        )
        policy = Policy.from_mapping(shipped("policy.toml"))
        self.core = DetectorCore(state, self.trainer.version("m-000001", 0), policy)
        self.core.open(0, None)
        check = CardNumberCheck(None)
        self._transactions, self._labels = TransactionCodec(check, _FUTURE_MS), LabelCodec(check, _FUTURE_MS)

    @staticmethod
    def _taken(decoded: Decoded, count: int) -> Decoded:
        assert (len(decoded.records), decoded.rejected, decoded.unknown_fields) == (count, [], 0)
        return decoded

    def take(self, payments: list[dict[str, Any]], labels: list[dict[str, Any]]) -> Examples:
        """Score payments, join their labels, and learn what a learner reads of them."""
        progress = self.core.progress(0)
        records = _raw(payments, progress.next_offset)
        decoded = self._taken(self._transactions.decode(records, NOW_MS), len(payments))
        assessed = self.core.assess(self.core.build(decoded.columns, 0, decoded.offset))
        told = self._taken(self._labels.decode(_raw(labels, progress.label_next_offset), NOW_MS), len(labels))
        outcome = self.core.label(told.columns, 0, told.offset)
        assert set(outcome.outcomes) == {"applied"}
        examples = Examples.from_bytes(outcome.examples.to_bytes())
        self.trainer.learn(examples)
        assert len(assessed.batch) == len(payments)
        return examples

    def belief(self, examples: Examples) -> float:
        """What the model thinks of the last genuine payments among these, as a probability of fraud."""
        plain = examples.bins[examples.label == Label.GENUINE][-200:]
        return float(self.trainer.logistic.predict_proba_many(plain).mean())


def _attacked(caps: Caps, kind: str) -> tuple[float, float]:
    """What is believed of plain payments before and after one source has lied, three honest ones beside every lie."""
    wire = _Wire(caps)
    honest = [_payment(number) for number in range(_HONEST)]
    examples = wire.take(honest, [_label(payment, f"agent-{number}") for number, payment in enumerate(honest)])
    before = wire.belief(examples)
    field = {"merchant": "merchant_id", "account": "card_token"}.get(kind)
    payments, labels = [], []
    for number in range(_HONEST, _HONEST + _ATTACKED):
        lies = number % 4 == 0
        payments.append(_payment(number, **({field: "liar"} if lies and field is not None else {})))
        labelled_by = "liar" if lies and kind == "agent" else f"agent-{number}"
        labels.append(_label(payments[-1], labelled_by, "fraud" if lies else ""))
    return before, wire.belief(wire.take(payments, labels))


@pytest.mark.parametrize("kind", ["agent", "merchant", "account"])
def test_one_source_that_lies_over_the_wire_is_capped(kind: str) -> None:
    """Who labelled, where, and with which card comes with the records: uncapped the lies are believed, capped not."""
    before, believed = _attacked(Caps(), kind)
    assert before < 0.02
    assert believed > 0.1
    assert _attacked(_CAPS, kind)[1] < 0.03
