"""The roles that hold the engine: score and learn, made from settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cardwatch.settings import Settings, configured_toml, read_toml
from cardwatch.wiring import fingerprint_key, require_one_reference
from detector.catalogue import DAY_MS, HOUR_MS
from detector.models import ModelsConfig, Trainer, nothing_learned
from detector.policy import Policy
from detector.rates import RateTable
from detector.state import EngineState, StateConfig
from streams.app import Role
from streams.detector_core import DetectorCore
from streams.learn import LearnRole
from streams.metrics import StreamMetrics
from streams.score import ScoreRole
from streams.segment_files import SegmentFiles
from streams.settings import StreamSettings


def state_config(settings: Settings) -> StateConfig:
    """What shapes the state of the score role.

    Raises:
        SettingsError: the fingerprint key is missing.
        detector.errors.ConfigurationError: settings contradict each other.
    """
    detector = settings.detector
    return StateConfig(
        fingerprint_key=fingerprint_key(settings),
        cards=detector.cards,
        events=detector.events,
        payments=detector.payments,
        entities=detector.entities,
        buckets=detector.buckets,
        kept=detector.kept,
        lateness_ms=detector.lateness_hours * HOUR_MS,
        identity_memory_ms=detector.identity_memory_hours * HOUR_MS,
        retention_ms=detector.retention_days * DAY_MS,
        maturity_ms=detector.maturity_days * DAY_MS,
        unlabelled_one_in=detector.unlabelled_one_in,
    )


def score(settings: Settings, streams: StreamSettings, metrics: StreamMetrics) -> Callable[[], Role]:
    """The score role; what is wrong in its files shows now.

    Raises:
        SettingsError: the fingerprint key is missing, or a file cannot be read.
        detector.errors.ConfigurationError: settings contradict each other, or a file's content is wrong.
    """
    config = state_config(settings)
    rates = RateTable.from_mapping(configured_toml(settings.files.rates, "rates.toml"))
    policy = Policy.from_mapping(configured_toml(settings.files.policy, "policy.toml"))
    require_one_reference(policy.reference_currency, rates.reference_currency)
    # Until a version is read from Kafka: knows nothing, so only rules act.
    nothing = nothing_learned(_models_config(settings), "m-000000")
    state = EngineState(config, rates, SegmentFiles(streams.checkpoint_url))
    core = DetectorCore(state, nothing, policy, _tried_policy(settings, rates))
    return lambda: ScoreRole(core, streams, metrics)


def learn(settings: Settings, streams: StreamSettings, metrics: StreamMetrics) -> Callable[[], Role]:
    """The learn role; what is wrong in its file shows now.

    Raises:
        SettingsError: the file cannot be read.
        detector.errors.ConfigurationError: its content is wrong.
    """
    config = _models_config(settings)
    Trainer(config)
    return lambda: LearnRole(lambda: Trainer(config), streams, metrics)


def _tried_policy(settings: Settings, rates: RateTable) -> Policy | None:
    """The policy that decides beside the one that acts, if there is one."""
    if not settings.files.tried_policy:
        return None
    tried = Policy.from_mapping(read_toml(Path(settings.files.tried_policy)))
    require_one_reference(tried.reference_currency, rates.reference_currency)
    return tried


def _models_config(settings: Settings) -> ModelsConfig:
    return ModelsConfig.from_mapping(configured_toml(settings.files.models, "models.toml"))
