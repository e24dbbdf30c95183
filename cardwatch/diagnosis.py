"""The checks of `cardwatch doctor`, each a function from settings to findings. None of them changes anything."""

from __future__ import annotations

import asyncio
import uuid
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import redis
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from redis.connection import parse_url
from redis.sentinel import Sentinel

from api.errors import ProviderUnavailableError
from api.oidc.provider import Metadata, Provider
from cardwatch import kafka, topic_changes, wiring
from cardwatch.errors import ServiceError, SettingsError
from cardwatch.ports import listening_problem
from cardwatch.services import RunningServices
from cardwatch.settings import KafkaSettings, RedisSettings, Settings
from casework.adapters.redis_access import refusal
from casework.errors import PostError, StoreError
from casework.webhooks import Endpoint
from streams.murmur2 import partition_of
from streams.topics import LABELS, TRANSACTIONS

CLOCK_BOUND_MS = 1_000
_SAMPLE_RECORDS = 200
_READ_TIMEOUT_S = 5.0
# A handful of records may agree with the wrong partitioner by chance: one in `partitions` does.
_FEWEST_KEYS = 5
# Of maxmemory: what is above it is a matter of days.
_FULL_SHARE = 0.9


class Grade(Enum):
    """How good a finding is. DOUBTFUL works, but look at it."""

    GOOD = 0
    DOUBTFUL = 1
    WRONG = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, and what to do about it."""

    grade: Grade
    what: str
    remedy: str = ""


def check_secrets(settings: Settings) -> Iterator[Finding]:
    """The secrets that a real installation needs are configured."""
    if settings.detector.fingerprint_key.get_secret_value():
        yield Finding(Grade.GOOD, "detector.fingerprint_key: set")
    else:
        yield Finding(
            Grade.WRONG, "detector.fingerprint_key: missing", "`openssl rand -hex 16`; the same on all machines"
        )
    if not settings.api.keys:
        yield Finding(Grade.DOUBTFUL, "api.keys: none, so nobody can use the API", "add keys under [api.keys]")
    if settings.api.session_secret.get_secret_value():
        yield Finding(Grade.GOOD, "api.session_secret: set")
    else:
        yield Finding(
            Grade.WRONG, "api.session_secret: missing", "`openssl rand -hex 32`; the same for all API processes"
        )
    if settings.desk.code_secret.get_secret_value():
        yield Finding(Grade.GOOD, "desk.code_secret: set")
    else:
        yield Finding(
            Grade.WRONG, "desk.code_secret: missing", "`openssl rand -hex 32`; the same for all API processes"
        )


def check_sign_in(settings: Settings, clock: Callable[[], int], *, is_demo: bool) -> Iterator[Finding]:
    """Agents sign in at an identity provider, and it answers."""
    provider = wiring.identity_provider(settings, clock)
    if provider is None:
        what = "oidc.issuer: none, so agents sign in at the desk with API keys"
        if is_demo:
            yield Finding(Grade.GOOD, f"{what}, as in every demo")
        else:
            yield Finding(
                Grade.DOUBTFUL,
                what,
                "give [oidc] the bank's identity provider (docs/deployment.md); API keys are for trials",
            )
        return
    try:
        metadata = asyncio.run(_metadata_and_keys(provider))
    except ProviderUnavailableError as error:
        yield Finding(Grade.WRONG, f"oidc.issuer: {error}", "correct oidc.issuer, or start the provider")
        return
    yield Finding(Grade.GOOD, "oidc.issuer: answers, and publishes keys")
    if not metadata.end_session_endpoint:
        yield Finding(
            Grade.DOUBTFUL,
            "oidc.issuer: states no end_session_endpoint",
            "agents who sign out of the desk stay signed in at the provider",
        )


async def _metadata_and_keys(provider: Provider) -> Metadata:
    await provider.keys()
    return await provider.metadata()


def check_ports(settings: Settings, demo: RunningServices | None) -> Iterator[Finding]:
    """The ports that our processes will listen on can be had."""
    if demo is not None:
        yield Finding(Grade.GOOD, f"ports: a demo runs here (process {demo.pid}), its API at {demo.api_url}")
        return
    metrics = settings.metrics
    listeners = (
        ("api.port", settings.api.host, settings.api.port),
        ("metrics.score_port", metrics.host, metrics.score_port),
        ("metrics.respond_port", metrics.host, metrics.respond_port),
        ("metrics.learn_port", metrics.host, metrics.learn_port),
        ("metrics.history_port", metrics.host, metrics.history_port),
        ("metrics.notify_port", metrics.host, metrics.notify_port),
    )
    for name, host, port in listeners:
        problem = listening_problem(host, port)
        if problem:
            yield Finding(
                Grade.DOUBTFUL,
                f"{name}: {host}:{port} cannot be had ({problem})",
                "cardwatch may run already; else change it",
            )
        else:
            yield Finding(Grade.GOOD, f"{name}: {host}:{port} is free")


def check_endpoints(settings: Settings) -> Iterator[Finding]:
    """The systems that are told of cases and cards can be found, and none is disabled. Nothing is posted."""
    for endpoint in wiring.endpoints(settings):
        yield from asyncio.run(_endpoint_findings(settings, endpoint))


async def _endpoint_findings(settings: Settings, endpoint: Endpoint) -> list[Finding]:
    """Where its name leads, and whether it is told."""
    name = f"webhooks.endpoints.{endpoint.name}"
    poster, log = wiring.endpoint_poster(settings, endpoint), wiring.webhook_log(settings)
    try:
        found = [Finding(Grade.GOOD, f"{name}: its host is {await poster.address()}")]
    except PostError as error:
        found = [
            Finding(Grade.WRONG, f"{name}: {error.problem}", "correct its url, or set private = true if it is meant")
        ]
    except OSError as error:
        found = [Finding(Grade.WRONG, f"{name}: no such host ({type(error).__name__})", "correct its url")]
    try:
        disabled = await log.disabled(endpoint.name)
    except StoreError:
        disabled = None  # What is wrong with Redis is told where Redis is looked at.
    if disabled is not None:
        remedy = f"once it is right: `cardwatch webhooks enable {endpoint.name} --reason ...`"
        found.append(Finding(Grade.WRONG, f"{name}: disabled, {disabled.why}", remedy))
    await poster.close()
    await log.close()
    return found


def check_kafka(settings: KafkaSettings, now_ms: int) -> Iterator[Finding]:
    """The broker answers, the topics are right, and keyed records lie where the partitioner puts them."""
    try:
        cluster = kafka.look_at(settings)
    except ServiceError as error:
        yield Finding(Grade.WRONG, str(error), "start it, or correct kafka.bootstrap_servers")
        return
    kind = "embedded broker" if settings.embedded else "broker"
    yield Finding(Grade.GOOD, f"kafka: {kind} at {settings.bootstrap_servers}, cluster {cluster.cluster_id}")
    if not settings.embedded and settings.replication_factor > cluster.brokers:
        yield Finding(
            Grade.WRONG,
            f"kafka.replication_factor is {settings.replication_factor}, but there are {cluster.brokers} brokers",
            f"set it to {cluster.brokers} or less",
        )
    topics = kafka.compare_topics(settings, cluster)
    for topic in topics:
        yield _topic_finding(topic)
    yield from _check_topic_settings(settings, cluster)
    for name in (TRANSACTIONS, LABELS):
        if any(topic.name == name and topic.found for topic in topics):
            yield from _check_records(settings, name, cluster.partitions[name], now_ms)


def check_broker_clock(settings: KafkaSettings, now_ms: Callable[[], int]) -> Iterator[Finding]:
    """The broker's clock agrees with ours: seen from the time it gives a record, on a topic made for that."""
    if settings.embedded:
        yield Finding(Grade.GOOD, "clock: the embedded broker has this machine's")
        return
    name = f"cardwatch.doctor.{uuid.uuid4().hex}"
    admin = AdminClient(kafka.client_options(settings))
    try:
        topic = NewTopic(name, num_partitions=1, config={"message.timestamp.type": "LogAppendTime"})
        admin.create_topics([topic])[name].result()
        began_ms = now_ms()
        stamped: list[int] = []
        producer = Producer(kafka.client_options(settings) | {"linger.ms": 0})
        producer.produce(name, b"", on_delivery=lambda _error, record: stamped.append(record.timestamp()[1]))
        producer.flush(_READ_TIMEOUT_S)
        ended_ms = now_ms()
        admin.delete_topics([name])[name].result()
    except KafkaException:
        yield Finding(Grade.DOUBTFUL, "clock: the broker's was not compared: it refuses a topic for it")
        return
    if stamped:
        yield _clock_finding("the broker", stamped[0], began_ms, ended_ms)


def check_redis(settings: RedisSettings, now_ms: Callable[[], int]) -> Iterator[Finding]:
    """Redis answers, keeps what it acknowledged, evicts nothing, and its clock agrees with ours."""
    try:
        wiring.require_redis_files(settings)
        with _redis_client(settings) as client:
            began_ms = now_ms()
            seconds, micros = client.time()
            ended_ms = now_ms()
            yield Finding(Grade.GOOD, "redis: answers")
            yield _clock_finding("Redis", seconds * 1000 + micros // 1000, began_ms, ended_ms)
            yield from _check_redis_settings(client)
            yield from _check_redis_state(client, settings.replicas)
    except redis.RedisError as error:
        told, _, remedy = refusal(error).partition(": ")
        yield Finding(
            Grade.WRONG,
            f"redis: {told or f'does not answer ({type(error).__name__})'}",
            remedy or "start it, or correct redis.url",
        )
    except SettingsError as error:
        yield Finding(Grade.WRONG, str(error), "correct redis.url, or let this user read the file")
    except ValueError:
        yield Finding(Grade.WRONG, "redis.url: is no Redis URL", "redis://host:6379/0, rediss://... or unix:///path")


def _redis_client(settings: RedisSettings) -> redis.Redis:
    """A client of the server that is written to."""
    url = settings.url.get_secret_value()
    options: dict[str, Any] = {"socket_timeout": settings.timeout_s, "decode_responses": True}
    addresses = settings.sentinel_addresses()
    if not addresses:
        return redis.Redis.from_url(url, **options)
    parts = parse_url(url)  # type: ignore[no-untyped-call] # redis-py leaves it bare, and the next two
    given = {name: value for name, value in parts.items() if name not in {"host", "port", "path"}}
    sentinel = Sentinel(list(addresses), socket_timeout=settings.timeout_s)  # type: ignore[no-untyped-call]
    client: redis.Redis = sentinel.master_for(settings.sentinel_service, **given, **options)  # type: ignore[no-untyped-call]
    return client


def _check_redis_state(client: redis.Redis, replicas: int) -> Iterator[Finding]:
    """Room is left, and enough replicas follow."""
    memory = client.info("memory")
    used, limit = int(memory["used_memory"]), int(memory["maxmemory"])
    if not limit:
        yield Finding(Grade.GOOD, f"redis: {used / 2**20:,.0f} MB used, no maxmemory")
    elif used < _FULL_SHARE * limit:
        yield Finding(Grade.GOOD, f"redis: {used / 2**20:,.0f} of {limit / 2**20:,.0f} MB used")
    else:
        yield Finding(
            Grade.WRONG,
            f"redis: {used / 2**20:,.0f} of {limit / 2**20:,.0f} MB used: writes are, or will soon be, refused",
            "raise maxmemory; nothing is evicted, alerts wait in Kafka meanwhile",
        )
    following = int(client.info("replication")["connected_slaves"])
    if following < replicas:
        yield Finding(
            Grade.WRONG, f"redis: {following} replicas follow, redis.replicas is {replicas}", "start the others"
        )


def _check_redis_settings(client: redis.Redis) -> Iterator[Finding]:
    wanted = (
        (
            "appendonly",
            "yes",
            Grade.WRONG,
            "a restart forgets frozen cards: CONFIG SET appendonly yes, and in its file",
        ),
        ("appendfsync", "always", Grade.DOUBTFUL, "a crash may forget the last second: appendfsync always"),
        ("maxmemory-policy", "noeviction", Grade.WRONG, "frozen cards may be evicted: maxmemory-policy noeviction"),
    )
    for name, right, otherwise, remedy in wanted:
        try:
            found = client.config_get(name).get(name)
        except redis.ResponseError:
            yield Finding(
                Grade.DOUBTFUL, f"redis: {name} cannot be read (CONFIG is not allowed)", f"it must be {right}"
            )
            continue
        if found == right:
            yield Finding(Grade.GOOD, f"redis: {name} is {found}")
        else:
            yield Finding(otherwise, f"redis: {name} is {found}", remedy)


def _topic_finding(topic: kafka.TopicFinding) -> Finding:
    if topic.right:
        return Finding(Grade.GOOD, f"topic {topic.name}: {topic.found} partitions")
    if topic.found is None:
        return Finding(Grade.WRONG, f"topic {topic.name}: missing", "cardwatch topics apply")
    return Finding(
        Grade.WRONG,
        f"topic {topic.name}: {topic.found} partitions instead of {topic.wanted}",
        "topics with the same key need the same number; set kafka.partitions before anything is sent, or make it anew",
    )


def _check_topic_settings(settings: KafkaSettings, cluster: kafka.Cluster) -> Iterator[Finding]:
    """Records are kept for long enough, and on enough brokers."""
    try:
        found = topic_changes.differences(settings, cluster)
    except ServiceError as error:
        yield Finding(Grade.DOUBTFUL, str(error), "let this user describe the configuration of topics")
        return
    for each in found:
        if each.setting not in {"topic", "partitions"}:
            what = f"topic {each.topic}: {each.setting} is {each.found}, should be {each.wanted}"
            yield Finding(Grade.DOUBTFUL, what, "`cardwatch topics diff` says what that means; apply sets it")


def _check_records(settings: KafkaSettings, topic: str, partitions: int, now_ms: int) -> Iterator[Finding]:
    """Look at the newest records of a keyed topic."""
    sample = list(_newest_records(settings, topic, partitions))
    ahead_ms = max((time_ms for _, _, time_ms in sample), default=0) - now_ms
    if ahead_ms > CLOCK_BOUND_MS:
        yield Finding(
            Grade.WRONG,
            f"{topic}: records are dated {ahead_ms / 1000:.1f} s in the future",
            "set the producers' clocks by NTP",
        )
    keys = {key: partition for key, partition, _ in sample if key}
    if any(not key for key, _, _ in sample):
        yield Finding(Grade.WRONG, f"{topic}: there are records without a key", "producers must key by card_token")
    if len(keys) < _FEWEST_KEYS or partitions == 1:
        yield Finding(Grade.GOOD, f"{topic}: too few records to tell the partitioner")
        return
    murmur2 = sum(partition_of(key, partitions) == partition for key, partition in keys.items())
    crc32 = sum(zlib.crc32(key) % partitions == partition for key, partition in keys.items())
    right = murmur2 if settings.partitioner == "murmur2" else crc32
    if right == len(keys):
        yield Finding(Grade.GOOD, f"{topic}: {len(keys)} keys lie where {settings.partitioner} puts them")
        return
    seen = "where crc32 does, librdkafka's default" if crc32 == len(keys) else "nowhere regular"
    yield Finding(
        Grade.WRONG,
        f"{topic}: {len(keys) - right} of {len(keys)} keys are not where {settings.partitioner} puts them, but {seen}",
        'in librdkafka producers set "partitioner": "murmur2_random"',
    )


def _newest_records(settings: KafkaSettings, topic: str, partitions: int) -> Iterator[tuple[bytes, int, int]]:
    """Key, partition and timestamp of the newest records of every partition."""
    consumer = kafka.reader(settings)
    try:
        each = max(1, _SAMPLE_RECORDS // partitions)
        positions, left = [], 0
        for partition in range(partitions):
            place = TopicPartition(topic, partition)
            low, high = consumer.get_watermark_offsets(place, timeout=_READ_TIMEOUT_S)
            start = max(low, high - each)
            left += high - start
            if high > start:
                positions.append(TopicPartition(topic, partition, start))
        if positions:
            consumer.assign(positions)
            yield from _read(consumer, left)
    except KafkaException:
        return
    finally:
        consumer.close()


def _read(consumer: Consumer, count: int) -> Iterator[tuple[bytes, int, int]]:
    while count > 0:
        messages = consumer.consume(count, timeout=_READ_TIMEOUT_S)
        if not messages:
            return
        for message in messages:
            if message.error() is None:
                yield bytes(message.key() or b""), int(message.partition() or 0), int(message.timestamp()[1])
        count -= len(messages)


def _clock_finding(whose: str, theirs_ms: int, began_ms: int, ended_ms: int) -> Finding:
    """Compare a clock that was asked between two looks at ours."""
    ahead_ms = theirs_ms - ended_ms if theirs_ms > ended_ms else min(0, theirs_ms - began_ms)
    if abs(ahead_ms) <= CLOCK_BOUND_MS:
        return Finding(Grade.GOOD, f"clock: {whose} agrees with this machine within {CLOCK_BOUND_MS} ms")
    direction = "ahead of" if ahead_ms > 0 else "behind"
    return Finding(
        Grade.WRONG, f"clock: {whose} is {abs(ahead_ms) / 1000:.1f} s {direction} this machine", "run NTP on both"
    )
