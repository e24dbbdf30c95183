"""From settings to those of the streams, without what runs them: an operator's command needs no more."""

from __future__ import annotations

from cardwatch.embedded import DataDirectory
from cardwatch.settings import Settings
from cardwatch.wiring import fingerprint_key
from streams.settings import StreamSettings


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
        # The embedded broker keeps 5 MiB a partition, and has one worker.
        share_entities=score.share_entities and not settings.kafka.embedded,
        model_interval_s=settings.learn.publish_interval_s,
        examples_per_version=settings.learn.examples_per_version,
    )
