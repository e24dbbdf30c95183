"""From settings to what the stream roles take, and running one of them in this process."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable

from cardwatch import wiring
from cardwatch.embedded import DataDirectory
from cardwatch.errors import ServiceError, SettingsError
from cardwatch.metrics import process_registry, serve_metrics, write_url
from cardwatch.settings import Settings, configured_toml
from cardwatch.wiring import fingerprint_key
from casework.desk import Desk
from casework.errors import CaseworkError, StoreUnavailableError
from casework.playbook import Playbook
from detector.catalogue import DAY_MS, HOUR_MS
from detector.errors import DetectorError
from detector.models import ModelsConfig, Trainer
from detector.policy import Policy
from detector.rates import RateTable
from detector.state import EngineState, StateConfig
from streams import errors as streams_errors
from streams.app import Role, run_worker
from streams.detector_core import DetectorCore
from streams.learn import LearnRole
from streams.metrics import StreamMetrics
from streams.respond import RespondRole
from streams.score import ScoreRole
from streams.settings import StreamSettings

logger = logging.getLogger(__name__)


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
        event_chunks=detector.event_chunks,
        pairs=detector.pairs,
        payments=detector.payments,
        card_label_chunks=detector.card_label_chunks,
        entities=detector.entities,
        bucket_chunks=detector.bucket_chunks,
        lateness_ms=detector.lateness_hours * HOUR_MS,
        identity_memory_ms=detector.identity_memory_hours * HOUR_MS,
        retention_ms=detector.retention_days * DAY_MS,
        maturity_ms=detector.maturity_days * DAY_MS,
        unlabelled_one_in=detector.unlabelled_one_in,
    )


def stream_settings(settings: Settings, worker_name: str) -> StreamSettings:
    """What the stream roles are told.

    Raises:
        SettingsError: the fingerprint key is missing.
        streams.errors.SettingsError: settings contradict each other.
    """
    score, data = settings.score, DataDirectory(settings.data.directory)
    return StreamSettings(
        bootstrap_servers=settings.kafka.bootstrap_servers,
        checkpoint_url=score.checkpoint_url or data.checkpoints.absolute().as_uri(),
        fingerprint_key=fingerprint_key(settings),
        kafka_options=settings.kafka.client_options(),
        embedded=settings.kafka.embedded,
        group_prefix=settings.kafka.group_prefix,
        worker_name=worker_name,
        partitions=settings.kafka.partitions,
        batch_rows=score.batch_rows,
        linger_ms=score.linger_ms,
        future_bound_ms=round(score.future_bound_s * 1000),
        issuer_token_pattern=score.issuer_token_pattern or None,
        checkpoint_interval_s=score.checkpoint_interval_s,
        checkpoints_kept=score.checkpoints_kept,
        session_timeout_s=score.session_timeout_s,
        model_interval_s=settings.learn.publish_interval_s,
        examples_per_version=settings.learn.examples_per_version,
    )


def run_role(role: str, settings: Settings) -> None:
    """Run one role in this process, its metrics shown, until SIGTERM or Ctrl-C.

    Args:
        role: score, respond or learn.
        settings: with the addresses of Kafka and, for respond, of Redis.

    Raises:
        SettingsError: a setting is wrong.
        ServiceError: the metrics' port cannot be had, or the role broke; a supervisor starts it again.
    """
    try:
        streams = stream_settings(settings, f"{role}-{socket.gethostname()}-{os.getpid()}")
        registry = process_registry()
        metrics = StreamMetrics(registry)
        make = {"score": _score, "respond": _respond, "learn": _learn}[role]
        # Whatever is wrong in files and settings shows here, before anything is joined or listened to.
        role_in_loop = make(settings, streams, metrics)
        port = serve_metrics(registry, settings.metrics.host, settings.metrics.port(role))
        write_url(DataDirectory(settings.data.directory), role, settings.metrics.host, port)
        run_worker(lambda: [role_in_loop()])
    except (streams_errors.SettingsError, DetectorError, CaseworkError) as error:
        raise SettingsError(str(error)) from error
    except streams_errors.StreamsError as error:
        logger.exception("the role %s ended", role)
        message = f"the role {role} ended: {error}"
        raise ServiceError(message) from error


def _score(settings: Settings, streams: StreamSettings, metrics: StreamMetrics) -> Callable[[], Role]:
    config = state_config(settings)
    rates = RateTable.from_mapping(configured_toml(settings.files.rates, "rates.toml"))
    policy = Policy.from_mapping(configured_toml(settings.files.policy, "policy.toml"))
    # Until a version is read from Kafka: knows nothing, so only rules act.
    nothing = Trainer(_models_config(settings)).version("m-000000", 0)
    core = DetectorCore(EngineState(config, rates), nothing, policy)
    return lambda: ScoreRole(core, streams, metrics)


def _respond(settings: Settings, streams: StreamSettings, metrics: StreamMetrics) -> Callable[[], Role]:
    playbook = wiring.playbook(settings)
    return lambda: RespondWithDesk(settings, playbook, streams, metrics)


def _learn(settings: Settings, streams: StreamSettings, metrics: StreamMetrics) -> Callable[[], Role]:
    config = _models_config(settings)
    Trainer(config)
    return lambda: LearnRole(lambda: Trainer(config), streams, metrics)


def _models_config(settings: Settings) -> ModelsConfig:
    return ModelsConfig.from_mapping(configured_toml(settings.files.models, "models.toml"))


class RespondWithDesk:
    """The respond role with the desk behind it: opened before, closed after."""

    def __init__(self, settings: Settings, playbook: Playbook, streams: StreamSettings, metrics: StreamMetrics) -> None:
        """Make store, desk and role inside the event loop that they live in."""
        self._store = wiring.redis_store(settings)
        self._desk = Desk(self._store, playbook)
        self._role = RespondRole(self._desk, streams, metrics)

    async def start(self) -> None:
        """Check the store, then join the group.

        Raises:
            WorkerError: Redis does not answer; a supervisor starts the worker again.
            StoreSetupError: Redis was set up for another number of shards.
        """
        try:
            await self._desk.open()
        except StoreUnavailableError as error:
            message = "Redis does not answer"
            raise streams_errors.WorkerError(message) from error
        await self._role.start()

    async def stop(self) -> None:
        """Leave the group, then the store."""
        await self._role.stop()
        await self._store.close()

    async def wait_broken(self) -> None:
        """Return only by raising."""
        await self._role.wait_broken()
