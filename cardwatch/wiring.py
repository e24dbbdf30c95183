"""From settings to the values and objects that the other packages take. Imports much: for working processes."""

from __future__ import annotations

import re

from cardwatch.embedded import DataDirectory
from cardwatch.errors import SettingsError
from cardwatch.settings import Settings, configured_toml
from casework.adapters.redis_store import RedisStore, RedisStoreSettings, connect
from casework.desk import Desk
from casework.playbook import Playbook
from detector.catalogue import DAY_MS, HOUR_MS
from detector.state import StateConfig
from streams.settings import StreamSettings


def fingerprint_key(settings: Settings) -> bytes:
    """The installation's secret, 16 bytes.

    Raises:
        SettingsError: it is not set.
    """
    digits = settings.detector.fingerprint_key.get_secret_value()
    if not digits:
        message = (
            "detector.fingerprint_key: missing; right is the installation's secret, 32 lower-case hex digits, the same "
            "for all workers and for ever: make it with `openssl rand -hex 16`"
        )
        raise SettingsError(message)
    return bytes.fromhex(digits)


def session_secret(settings: Settings) -> bytes:
    """The secret that signs console sessions, 32 bytes.

    Raises:
        SettingsError: it is not set.
    """
    digits = settings.api.session_secret.get_secret_value()
    if not digits:
        message = (
            "api.session_secret: missing; right are 64 lower-case hex digits, the same for all API processes: make "
            "them with `openssl rand -hex 32`"
        )
        raise SettingsError(message)
    return bytes.fromhex(digits)


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
        unlabelled_every=settings.detector.unlabelled_one_in,
        session_timeout_s=score.session_timeout_s,
        model_interval_s=settings.learn.publish_interval_s,
        examples_per_version=settings.learn.examples_per_version,
    )


def issuer_token_pattern(settings: Settings) -> re.Pattern[str] | None:
    """What numeric card tokens of the issuer look like.

    Raises:
        SettingsError: it is no regular expression.
    """
    text = settings.score.issuer_token_pattern
    if not text:
        return None
    try:
        return re.compile(text)
    except re.error as error:
        message = f"score.issuer_token_pattern: is no regular expression: {error}"
        raise SettingsError(message) from None


def playbook(settings: Settings) -> Playbook:
    """The playbook.

    Raises:
        SettingsError: its file cannot be read.
        casework.errors.ConfigurationError: its content is wrong.
    """
    return Playbook.from_mapping(configured_toml(settings.files.playbook, "playbook.toml"))


def redis_store(settings: Settings) -> RedisStore:
    """The store on Redis; it connects on first use."""
    redis = settings.redis
    client = connect(redis.url.get_secret_value(), cluster=redis.cluster, timeout_seconds=redis.timeout_s)
    return RedisStore(client, RedisStoreSettings(shards=redis.shards, outbox_limit=redis.outbox_limit))


def desk(settings: Settings, store: RedisStore) -> Desk:
    """The desk on that store; await its `open` before anything else."""
    return Desk(store, playbook(settings))
