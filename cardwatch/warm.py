"""The demo's first model: trained in seconds on a replay of the simulator, kept until what it is made of changes.

A model that knows nothing may not freeze a card (`cold_start`). A real installation warms up on its own history with
labels; the demo has none, so it replays a simulated world, another one than it will play, through the very engine of
the stream, with the truth as labels a simulated day later.
"""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from cardwatch.kafka import has_records
from cardwatch.model_topic import write_version
from cardwatch.settings import KafkaSettings, Settings, configured_toml
from cardwatch.simulator import ATTACK_NAMES, Simulator, WorldSettings, wire
from cardwatch.simulator.payments import Payments, concatenate, in_time_order
from cardwatch.simulator.world import DAY_MS
from detector.catalogue import catalogue_digest
from detector.engine import assess_batch
from detector.errors import ModelError
from detector.examples import Examples
from detector.labels import apply_labels, build_label_batch, mature
from detector.models import ModelsConfig, ModelVersion, Trainer
from detector.policy import Policy
from detector.rates import RateTable
from detector.state import EngineState, StateConfig
from detector.transactions import build_batch
from detector.vocabulary import Label
from streams import fetched, plain_decisions
from streams.codecs import TransactionCodec
from streams.detector_core import DetectorCore
from streams.topics import MODELS

FIRST_VERSION = "m-000001"
# Four seconds of one core. About one payment in two hundred is fraudulent, half of them in attacks as `trigger` plays.
_WORLD = WorldSettings(seed=20_260_101, cards=2_500, payments_per_card_day=4.0, attacks_per_thousand_cards_day=0.5)
_DAYS = 12
_ATTACKS_A_DAY = 1
# An online model has seen too little after one reading of twelve days: on another world it then froze 1.2% of the
# genuine payments of cards that nobody attacked, after six readings 0.01%, and 97% of the attacked cards either way.
_READINGS = 6
_LABEL_DELAY_MS = DAY_MS
_START_MS = 1_767_225_600_000  # 2026-01-01: a fixed day, so that the same code trains the same model
_BATCH_ROWS = 2_048
_KEY = bytes(range(16))
_STATE = StateConfig(
    _KEY, cards=20_000, events=1_000_000, payments=300_000,
    entities=50_000, buckets=2_000_000,
)  # fmt: skip
_SOURCES = ("cardwatch.simulator", "detector", "detector.models")


def warm_model(settings: Settings, cache: Path) -> tuple[ModelVersion, bool]:
    """The first model, trained unless a kept one was made of the same; the kernels are compiled either way.

    Its counts of examples count each reading.

    Args:
        settings: whose [files] may name another policy, rates or models.
        cache: directory to keep it in.

    Returns:
        The model, and whether it was trained now.

    Raises:
        SettingsError: a file cannot be read.
        detector.errors.ConfigurationError: a file's content is wrong.
    """
    models = configured_toml(settings.files.models, "models.toml")
    path = cache / f"warm-{_digest(models)}.npz"
    config = ModelsConfig.from_mapping(models)
    rates = RateTable.from_mapping(configured_toml(settings.files.rates, "rates.toml"))
    shipped = configured_toml(settings.files.policy, "policy.toml")
    try:
        kept = ModelVersion.from_bytes(path.read_bytes())
    except (OSError, ModelError):
        pass
    else:
        exercise(kept, config, Policy.from_mapping(shipped), rates)
        return kept, False
    # Answers are not what is learned from here, and an alert costs a hundred times a plain payment.
    version = train(config, Policy.from_mapping(shipped | {"rules": [], "random_review_share": 0.0}), rates)
    exercise(version, config, Policy.from_mapping(shipped), rates)
    for old in cache.glob("warm-*.npz"):
        old.unlink()
    written = path.with_suffix(".tmp")
    written.write_bytes(version.to_bytes())
    written.replace(path)
    return version, True


def exercise(version: ModelVersion, models: ModelsConfig, policy: Policy, rates: RateTable) -> None:
    """Run whatever training has not run, so that workers find all kernels compiled: alerts, labels alone, maturity.

    So are those between Kafka's bytes and columns, and of checkpoints, which training does not need at all.
    """
    fetched.install()
    TransactionCodec.warm_up()
    plain_decisions.warm_up()
    received = ModelVersion.from_bytes(version.to_bytes())
    simulator = Simulator(_WORLD)
    payments = simulator.attack_payments("stolen_card", _START_MS)
    state = EngineState(_STATE, rates)
    DetectorCore(state, received, policy).warm_up()
    state.open_partition(0)
    batch = build_batch(wire.to_columns(simulator.world, payments), key=_KEY, offset=np.arange(len(payments)))
    assess_batch(state, batch, received, policy)
    labels = wire.to_labels(simulator.world, payments, _LABEL_DELAY_MS)
    _learn(state, Trainer(models).resume(received), labels, 0, len(labels["label"]))
    mature(state, 0, _START_MS)


def publish(kafka: KafkaSettings, version: ModelVersion) -> bool:
    """Publish the first model, unless there is one.

    Returns:
        Whether it was published.

    Raises:
        ServiceError: Kafka does not answer, or does not take it.
    """
    if has_records(kafka, MODELS):
        return False
    write_version(kafka, version)
    return True


def train(models: ModelsConfig, policy: Policy, rates: RateTable) -> ModelVersion:
    """Train on a replay of the simulator; the same every time."""
    state = EngineState(_STATE, rates)
    state.open_partition(0)
    trainer = Trainer(models)
    simulator = Simulator(_WORLD)
    payments = _payments(simulator)
    labels = wire.to_labels(simulator.world, payments, _LABEL_DELAY_MS)
    known_ms = np.asarray(labels["label_time_ms"])
    learned = offset = 0
    seen: list[Examples] = []
    nothing = trainer.scorer(FIRST_VERSION)
    for start in range(0, len(payments), _BATCH_ROWS):
        part = payments[start : start + _BATCH_ROWS]
        until = int(np.searchsorted(known_ms, part.event_time_ms[0], side="right"))
        seen.append(_learn(state, trainer, labels, learned, until))
        learned = until
        offsets = np.arange(offset, offset + len(part), dtype=np.int64)
        offset += len(part)
        batch = build_batch(wire.to_columns(simulator.world, part), key=_KEY, offset=offsets)
        trainer.learn(assess_batch(state, batch, nothing, policy).unlabelled)
    seen.append(_learn(state, trainer, labels, learned, len(known_ms)))
    for _ in range(_READINGS - 1):
        for examples in seen:
            trainer.learn(examples, again=True)
    return trainer.version(FIRST_VERSION, 0)


def _payments(simulator: Simulator) -> Payments:
    """Days of a world, with attacks as `cardwatch trigger` plays them besides those at their natural pace."""
    stream = simulator.stream(_START_MS)
    count = round(_WORLD.cards * _WORLD.payments_per_card_day * _DAYS)
    random = np.random.default_rng(_WORLD.seed)
    parts = [stream.take(count)]
    end_ms = int(parts[0].event_time_ms[-1])
    for number in range(_ATTACKS_A_DAY * _DAYS):
        at_ms = int(random.integers(_START_MS + DAY_MS, end_ms))
        parts.append(simulator.attack_payments(ATTACK_NAMES[number % len(ATTACK_NAMES)], at_ms))
    return in_time_order(concatenate(parts))


def _learn(state: EngineState, trainer: Trainer, labels: dict[str, Any], start: int, stop: int) -> Examples:
    """Take in the labels from `start` to `stop`, and let the models learn them; what they learned."""
    columns = {name: labels[name][start:stop] for name in ("transaction_id", "card_token", "label", "label_time_ms")}
    columns["label"] = np.where(np.asarray(columns["label"]) == 1, int(Label.FRAUD), int(Label.GENUINE))
    batch = build_label_batch(columns, key=_KEY, offset=np.arange(start, stop, dtype=np.int64))
    examples = apply_labels(state, batch).examples
    trainer.learn(examples)
    return examples


def _digest(models: dict[str, Any]) -> str:
    """Digest of what the model is made of: the code of the simulator and the detector, and the configuration."""
    digest = hashlib.sha256(catalogue_digest().encode())
    digest.update(repr(sorted(models.items())).encode())
    digest.update(Path(__file__).read_bytes())
    for package in _SOURCES:
        for file in sorted(resources.files(package).iterdir(), key=lambda file: file.name):
            if file.name.endswith(".py"):
                digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:16]
