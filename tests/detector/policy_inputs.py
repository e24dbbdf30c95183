"""Makes policy inputs and models for the tests of policy, rules and reasons."""

from __future__ import annotations

import importlib.resources
import tomllib
from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.catalogue import CATALOGUE, FEATURE_COUNT, FEATURE_INDEX, catalogue_digest
from detector.models import ModelsConfig, ModelVersion, Trainer
from detector.policy import Policy, PolicyInputs
from detector.texts import pack_letters
from detector.tokens import fingerprint_many


def shipped(name: str) -> dict[str, Any]:
    """The content of a shipped configuration file."""
    return tomllib.loads((importlib.resources.files("configs") / name).read_text())


def feature_row(**values: float) -> NDArray[np.float32]:
    """One row of features: those given, all others missing."""
    row = np.full(FEATURE_COUNT, np.nan, dtype=np.float32)
    for name, value in values.items():
        row[FEATURE_INDEX[name]] = value
    return row


def model_with(log_odds: dict[tuple[str, float], float] | None = None) -> ModelVersion:
    """A model that has learned one plain payment and gives a feature's value so much log-odds."""
    config = replace(ModelsConfig.from_mapping(shipped("models.toml")), cold_start_frauds=0)
    config = replace(config, logistic=replace(config.logistic, fields=("*",)))
    trainer = Trainer(config)
    plain = trainer.binner.bins(np.zeros((1, FEATURE_COUNT)))
    trainer.logistic.learn_many(plain, np.array([0]), np.array([1.0]))
    trainer.logistic.weights[:] = 0.0
    for (name, value), weight in (log_odds or {}).items():
        row = trainer.binner.bins(feature_row(**{name: value})[None, :])
        slot = trainer.logistic.fields.slots(row)[0, FEATURE_INDEX[name]]
        trainer.logistic.weights[slot] = weight
    version = trainer.version("m-000001", 0)
    # Fewer than one in a hundred score above 0.99.
    sample = np.resize(np.linspace(0.0, 0.99, 99, dtype=np.float32), len(version.anomaly_sample))
    sample[::128] = 1.0
    version = replace(version, anomaly_sample=sample, anomalies_sampled=len(sample))
    assert version.catalogue_digest == catalogue_digest()
    assert version.binner.feature_count == len(CATALOGUE)
    return version


_MODEL = model_with()
_KEY = bytes(range(16))


def inputs(count: int, **columns: Any) -> PolicyInputs:
    """Inputs of plain, unsuspicious purchases, with some columns replaced; a scalar fills its column."""
    plain: dict[str, Any] = {
        "score": 0.0, "anomaly": 0.0, "amount_minor": 5_000, "currency": "EUR", "kind": 0, "channel": 0,
        "entry_mode": 0, "mcc": 0, "country_code": None, "merchant_id": None, "card_token": "card",
        "terminal_id": None, "device_id": None, "card_status": 0,
        "cold_start": False, "random_unit": 0.5, "damped": (), "exempt": None, "model": _MODEL,
        "features": np.full((count, FEATURE_COUNT), np.nan, dtype=np.float32),
    }  # fmt: skip
    plain |= columns
    plain.setdefault("amount_reference", plain["amount_minor"])
    for name in ("score", "anomaly", "random_unit"):
        plain[name] = np.broadcast_to(np.asarray(plain[name], dtype=np.float64), (count,)).copy()
    for name in ("amount_minor", "amount_reference", "kind", "channel", "entry_mode", "mcc", "card_status"):
        plain[name] = np.broadcast_to(np.asarray(plain[name], dtype=np.int64), (count,)).copy()
    for name in ("currency", "country_code", "merchant_id", "card_token", "terminal_id", "device_id"):
        if not isinstance(plain[name], list):
            plain[name] = [plain[name]] * count
    plain["currency"], plain["country_code"] = (
        pack_letters(plain["currency"], 3),
        pack_letters(plain["country_code"], 2),
    )
    plain["merchant"] = fingerprint_many(plain.pop("merchant_id"), _KEY)
    plain["terminal"] = fingerprint_many(plain.pop("terminal_id"), _KEY)
    plain["device"] = fingerprint_many(plain.pop("device_id"), _KEY)
    plain["card"] = fingerprint_many(plain.pop("card_token"), _KEY)
    return PolicyInputs(**plain, fingerprint_key=_KEY)


def cut(whole: PolicyInputs, start: int, stop: int) -> PolicyInputs:
    """Rows `start` to `stop` of some inputs."""
    columns = {f.name: getattr(whole, f.name) for f in fields(whole)}
    for name, column in columns.items():
        if name not in {"cold_start", "damped", "model", "fingerprint_key"} and column is not None:
            columns[name] = column[start:stop]
    columns["damped"] = [(row - start, code) for row, code in whole.damped if start <= row < stop]
    return PolicyInputs(**columns)


def policy(rules: list[dict[str, Any]] | None = None, **settings: Any) -> Policy:
    """A small policy with round costs."""
    stops = {
        "step_up": {"payment": 0.7, "follow_on": 0.3},
        "review": {"payment": 0.0, "follow_on": 0.6},
        "freeze": {"payment": 1.0, "follow_on": 1.0},
    }
    mapping = {
        "version": "test-1",
        "reference_currency": "EUR",
        "random_review_share": 0.0,
        "thresholds": {"step_up": 0.03, "review": 0.1, "freeze": 0.5, "anomaly_review_share": 0.01},
        "stops": stops,
        "costs": {
            "EUR": {"follow_on_loss": 30_000, "step_up": 300, "review": 800, "freeze": 9_000},
            "JPY": {"follow_on_loss": 60_000, "step_up": 600, "review": 1_600, "freeze": 18_000},
        },
        "lists": {"bad_merchants": ["m-bad", "m-worse"], "bad_codes": [7995, 6051]},
        "rules": rules or [],
    }
    return Policy.from_mapping(mapping | settings)
