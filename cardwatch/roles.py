"""From settings to what the stream roles take, and running one of them in this process."""

from __future__ import annotations

from cardwatch.embedded import DataDirectory
from cardwatch.settings import Settings
from cardwatch.wiring import fingerprint_key
from detector.catalogue import DAY_MS, HOUR_MS
from detector.state import StateConfig
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
