"""What a worker must be told. Filled by `cardwatch` from flags, environment and files; nothing here reads any."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from streams.errors import SettingsError

_KEY_BYTES = 16
# librdkafka's mock cluster waits 3 s for a new group's members, and forgets those silent for their session timeout.
_LEAST_EMBEDDED_SESSION_S = 4.0
# By its heartbeat a member learns of a rebalance, and until all have learned of it nobody owns what a worker left.
_HEARTBEAT_S = 0.5
_LEAST_HEARTBEATS_PER_SESSION = 4


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """Settings of the streams; all have a default that is right for one worker on one machine, but for the first three.

    Attributes:
        bootstrap_servers: `host:port`, comma-separated.
        checkpoint_url: folder for checkpoints, any fsspec URL (`file://`, `s3://`, `memory://`).
        fingerprint_key: the installation's 16-byte secret; never shown.
        kafka_options: further client options in librdkafka's names (`security.protocol`, `sasl.username`, ...).
        embedded: the broker is librdkafka's mock cluster: it creates no topics by declaration, forgets everything when
            it ends, and its id changes; checkpoints of another cluster are then passed over instead of refused.
        group_prefix: consumer groups are `<prefix>-score`, `<prefix>-respond`, `<prefix>-learn`.
        worker_name: names this process in logs and in Kafka's client ids.
        partitions: number of partitions of topics keyed by card token.
        batch_rows: at most so many records go through the engine at once; bounds how long other work waits.
        linger_ms: how long the producer gathers records. 0 collapses at 5,000/s; 1-2 is right.
        future_bound_ms: how much later than its Kafka timestamp a record may claim to have happened.
        issuer_token_pattern: regular expression that the issuer's numeric card tokens match in full; such tokens are
            not taken for card numbers.
        checkpoint_interval_s: seconds between checkpoints.
        checkpoints_kept: how many full copies (bases) are kept of each partition, with all changes since the oldest.
        session_timeout_s: a worker that is silent for so long loses its partitions.
        delivery_timeout_s: a record that Kafka has not acknowledged for so long ends the worker.
        recovery_timeout_s: reading back the output topics and the broadcast topics must end in this time.
        stall_timeout_s: a worker that has records to read and makes no progress for so long ends itself.
        model_interval_s: the learner publishes a new version at most this often.
        examples_per_version: and at the latest after so many examples.
        share_entities: score workers tell each other what their payments and labels change in terminals, merchants and
            devices. Off for a worker that will always be alone.
        relay_interval_s: how long the relay waits before it looks at an empty outbox again.
    """

    bootstrap_servers: str
    checkpoint_url: str
    fingerprint_key: bytes = field(repr=False)
    kafka_options: Mapping[str, str] = field(default_factory=dict, repr=False)
    embedded: bool = False
    group_prefix: str = "cardwatch"
    worker_name: str = "worker"
    partitions: int = 8
    batch_rows: int = 4096
    linger_ms: float = 1.0
    future_bound_ms: int = 5 * 60 * 1000
    issuer_token_pattern: str | None = None
    checkpoint_interval_s: float = 5.0
    checkpoints_kept: int = 2
    session_timeout_s: float = 10.0
    delivery_timeout_s: float = 30.0
    recovery_timeout_s: float = 60.0
    stall_timeout_s: float = 120.0
    model_interval_s: float = 5.0
    examples_per_version: int = 50_000
    relay_interval_s: float = 0.05
    share_entities: bool = False

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other.

        Raises:
            SettingsError: names the setting and what would be right.
        """
        if len(self.fingerprint_key) != _KEY_BYTES:
            message = f"fingerprint_key must have {_KEY_BYTES} bytes, not {len(self.fingerprint_key)}"
            raise SettingsError(message)
        least = {
            "partitions": 1, "batch_rows": 1, "linger_ms": 0.5, "future_bound_ms": 0, "checkpoint_interval_s": 0.1,
            "checkpoints_kept": 2, "session_timeout_s": 1.0, "delivery_timeout_s": 1.0,
            "recovery_timeout_s": 1.0, "model_interval_s": 0.1, "examples_per_version": 1, "relay_interval_s": 0.001,
        }  # fmt: skip
        for name, minimum in least.items():
            if getattr(self, name) < minimum:
                message = f"{name} must be at least {minimum}, not {getattr(self, name)}"
                raise SettingsError(message)
        if self.embedded and self.session_timeout_s < _LEAST_EMBEDDED_SESSION_S:
            message = f"session_timeout_s must be at least {_LEAST_EMBEDDED_SESSION_S} with the embedded broker"
            raise SettingsError(message)
        if self.stall_timeout_s <= self.recovery_timeout_s:
            message = f"stall_timeout_s must be above recovery_timeout_s ({self.recovery_timeout_s})"
            raise SettingsError(message)
        if self.issuer_token_pattern is not None:
            try:
                re.compile(self.issuer_token_pattern)
            except re.error as error:
                message = f"issuer_token_pattern must be a regular expression: {error}"
                raise SettingsError(message) from error

    def group(self, role: str) -> str:
        """Name of a role's consumer group."""
        return f"{self.group_prefix}-{role}"

    @property
    def heartbeat_s(self) -> float:
        """A member of a group tells that it lives, and hears that a member left, once in so many seconds."""
        return min(_HEARTBEAT_S, self.session_timeout_s / _LEAST_HEARTBEATS_PER_SESSION)
