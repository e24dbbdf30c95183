"""How long payments wait for their decision, and cards for their freeze, at a steady rate on a real Kafka and Redis.

An echo, which only copies records, is measured in the same run on the same broker: what stands above it is cardwatch.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as pq
import redis
from numpy.typing import NDArray

from benchmarks import broker, results, steady, workload
from benchmarks.options import Options
from benchmarks.processes import Watched
from cardwatch import warm
from cardwatch.model_topic import write_version
from cardwatch.settings import KafkaSettings
from detector.models import ModelVersion
from detector.vocabulary import CardStatus
from streams.topics import DECISIONS, TRANSACTIONS
from tests.services.redis_server import RedisServer, running_redis

NAME = "latency"
PURPOSE = "record produced to decision read and to card frozen, at steady rates, beside an echo"

_RATES_PER_S = (1_000, 5_000)
_ECHO_SECONDS = 30
_SECONDS = 60
_UNCOUNTED_SECONDS = 5
_BEFORE = 400_000
_SWAP_EVERY_S = 15.0
_START_S = 180.0
_SETTLE_S = 15.0
_ECHO_TOPICS = ("echo.transactions.v1", "echo.decisions.v1")
_PARTS = (0.5, 0.99, 0.999)
_BEFORE_PER_S = 50_000
_HEAD = ("", "payments/s", "records", "p50, ms", "p99, ms", "p99.9, ms", "slowest, ms")

Payments = Iterator[dict[str, Any]]


@dataclass(slots=True)
class _FreezeWatch:
    """Hears from Redis itself when cards' documents are written, from a connection of its own."""

    server: RedisServer
    written_ns: dict[str, list[int]] = field(default_factory=dict)

    @contextmanager
    def hearing(self) -> Iterator[None]:
        """Listen while the block runs."""
        connection: Any = redis.Redis.from_url(self.server.url)
        with connection as client, client.pubsub(ignore_subscribe_messages=True) as listener:
            client.config_set("notify-keyspace-events", "Eh")
            listener.psubscribe("__keyevent@*__:hset")

            def hear(ended: threading.Event) -> None:
                while not ended.is_set():
                    message = listener.get_message(timeout=0.2)
                    if message is not None:
                        place, _, token = message["data"].decode().partition(":card:")
                        if token and place.startswith("cardwatch"):
                            self.written_ns.setdefault(token, []).append(time.monotonic_ns())

            with _beside(hear):
                yield

    def delays_s(self, frozen_due_ns: Mapping[str, int]) -> NDArray[np.float64]:
        """From when the payment was due to when its card stood frozen in Redis; of cards that are frozen there now.

        Args:
            frozen_due_ns: by card, when the first payment was due that was answered with anything but ALLOW, which was
                FREEZE.
        """
        client: Any = redis.Redis.from_url(self.server.url)
        found = []
        for key in list(client.scan_iter("cardwatch:*:card:*", count=1_000)):
            token = key.decode().partition(":card:")[2]
            due_ns, document = frozen_due_ns.get(token), client.hget(key, "card")
            if due_ns is None or msgspec.json.decode(document).get("state") != int(CardStatus.FROZEN):
                continue
            written = [at_ns for at_ns in self.written_ns.get(token, ()) if at_ns > due_ns]
            found += [(written[0] - due_ns) / 1e9] if written else []
        client.close()
        return np.array(found)


@dataclass(frozen=True, slots=True)
class _Load:
    """Payments that are sent at one rate, and what came of them.

    Attributes:
        rate_per_s: how many a second.
        delays_s: from when each was due to when its answer was read, but of those of the first seconds.
        answers: as they were read.
        due_ns: when each payment was due, by its id.
    """

    rate_per_s: int
    delays_s: NDArray[np.float64]
    answers: list[dict[str, Any]]
    due_ns: dict[str, int]


def run(options: Options) -> None:
    """Measure, save, and write the table."""
    seconds = _ECHO_SECONDS + _SECONDS + 2 * _UNCOUNTED_SECONDS
    wanted = _BEFORE + sum(_RATES_PER_S) * seconds
    payments = iter(pq.read_table(workload.stream_file(wanted, options.say)).to_pylist())
    with broker.own_cluster() as (kafka, folder), running_redis(folder / "redis") as redis_server:
        broker.make_plain_topics(kafka, _ECHO_TOPICS)
        echoes = _echo(kafka, folder, payments, options)
        decided, frozen_s = _cardwatch(kafka, redis_server, folder, payments, options)
    results.save(
        NAME,
        {
            "echo_s": {load.rate_per_s: load.delays_s.tolist() for load in echoes},
            "decided_s": {load.rate_per_s: load.delays_s.tolist() for load in decided},
            "frozen_s": {rate_per_s: found.tolist() for rate_per_s, found in frozen_s.items()},
        },
    )
    results.write_section(NAME, _text(options, echoes, decided, frozen_s))


def _echo(kafka: KafkaSettings, folder: Path, payments: Payments, options: Options) -> list[_Load]:
    """How long an echo takes."""
    options.say("an echo")
    source, target = _ECHO_TOPICS
    words = ["benchmarks.echo", kafka.bootstrap_servers, source, target]
    with _running(words, folder / "echo.log", {}):
        time.sleep(_SETTLE_S)
        return [
            _load(kafka, folder / f"echo-{rate_per_s}.parquet", _ECHO_TOPICS, payments, rate_per_s, options)
            for rate_per_s in _RATES_PER_S
        ]


def _cardwatch(
    kafka: KafkaSettings, server: RedisServer, folder: Path, payments: Payments, options: Options
) -> tuple[list[_Load], dict[int, NDArray[np.float64]]]:
    """How long decisions and freezes of the score and the respond role take, from a state that is not empty."""
    model = workload.warmed_model()
    warm.publish(kafka, model)
    environment = {
        "CARDWATCH_DATA__DIRECTORY": str(folder / "data"),
        "CARDWATCH_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "CARDWATCH_REDIS__URL": server.url,
        "CARDWATCH_DETECTOR__FINGERPRINT_KEY": secrets.token_hex(16),
        "CARDWATCH_METRICS__SCORE_PORT": "0",
        "CARDWATCH_METRICS__RESPOND_PORT": "0",
    }
    roles = {role: ["cardwatch", "worker", "--roles", role] for role in ("score", "respond")}
    watch, loads = _FreezeWatch(server), []
    with (
        _running(roles["score"], folder / "score.log", environment) as worker,
        _running(roles["respond"], folder / "respond.log", environment),
    ):
        options.say(f"{_BEFORE:,} payments before those that are measured")
        steady.send(kafka, TRANSACTIONS, list(islice(payments, _BEFORE)), _BEFORE_PER_S)
        broker.Curve().follow(broker.Ends(kafka), DECISIONS, _BEFORE, worker.require_alive, options.say)
        time.sleep(_SETTLE_S)
        with watch.hearing(), _beside(partial(_swap, kafka, model)):
            for rate_per_s in _RATES_PER_S:
                file = folder / f"decisions-{rate_per_s}.parquet"
                loads.append(_load(kafka, file, (TRANSACTIONS, DECISIONS), payments, rate_per_s, options))
            time.sleep(_SETTLE_S)
    return loads, _frozen(loads, watch)


def _frozen(loads: Sequence[_Load], watch: _FreezeWatch) -> dict[int, NDArray[np.float64]]:
    """By rate: how long freezes took of cards whose first answer but ALLOW was FREEZE."""
    first: set[str] = set()
    found = {}
    for load in loads:
        due_ns: dict[str, int] = {}
        for answer in sorted(load.answers, key=lambda answer: load.due_ns[answer["transaction_id"]]):
            card = answer["card_token"]
            if answer["action"] != "ALLOW" and card not in first:
                first.add(card)
                if answer["action"] == "FREEZE":
                    due_ns[card] = load.due_ns[answer["transaction_id"]]
        found[load.rate_per_s] = watch.delays_s(due_ns)
    return found


def _load(
    kafka: KafkaSettings,
    file: Path,
    topics: tuple[str, str],
    payments: Payments,
    rate_per_s: int,
    options: Options,
) -> _Load:
    """Send payments to the first topic, read all answers from the second.

    Raises:
        CountError: not every payment had one answer.
    """
    source, target = topics
    seconds = _UNCOUNTED_SECONDS + (_ECHO_SECONDS if topics == _ECHO_TOPICS else _SECONDS)
    sent = list(islice(payments, rate_per_s * seconds))
    words = ["benchmarks.steady", kafka.bootstrap_servers, target, str(len(sent)), str(file)]
    with _running(words, file.with_suffix(".log"), {}) as reading:
        _wait_for(steady.ready(file), reading)
        options.say(f"{len(sent):,} payments, {rate_per_s:,} a second")
        due = steady.send(kafka, source, sent, rate_per_s)
        _wait_for(file, reading)
    due_ns = {payment["transaction_id"]: int(at) for payment, at in zip(sent, due, strict=True)}
    answers = pq.read_table(file).to_pylist()
    if {answer["transaction_id"] for answer in answers} != due_ns.keys() or len(answers) != len(sent):
        message = f"{len(answers):,} answers for {len(sent):,} payments"
        raise broker.CountError(message)
    from_ns = int(due[0]) + _UNCOUNTED_SECONDS * 10**9
    waited_ns = [(due_ns[answer["transaction_id"]], answer["read_ns"]) for answer in answers]
    delays_s = np.array([(read_ns - at_ns) / 1e9 for at_ns, read_ns in waited_ns if at_ns >= from_ns])
    p50, p99, p999 = _quantiles_ms(delays_s)
    options.say(f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, p99.9 {p999:.1f} ms")
    return _Load(rate_per_s, delays_s, answers, due_ns)


@contextmanager
def _running(words: Sequence[str], log: Path, environment: Mapping[str, str]) -> Iterator[Watched]:
    """A process that is ended with the block."""
    process = Watched(words, log, environment)
    try:
        yield process
    finally:
        process.stop()


@contextmanager
def _beside(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Work in a thread while the block runs; what it is given is set when it is to end."""
    ended = threading.Event()
    thread = threading.Thread(target=work, args=(ended,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _swap(kafka: KafkaSettings, model: ModelVersion, ended: threading.Event) -> None:
    """Publish another version of the model every few seconds."""
    for number in count(2):
        if ended.wait(_SWAP_EVERY_S):
            return
        write_version(kafka, replace(model, name=f"m-{number:06}"))


def _wait_for(file: Path, process: Watched) -> None:
    """Wait until a process has made a file.

    Raises:
        TimeoutError: it has not in time.
    """
    deadline_s = time.monotonic() + _START_S
    while not file.exists():
        if time.monotonic() > deadline_s:
            process.require_alive()
            message = f"{file.name} was not made within {_START_S:.0f} s"
            raise TimeoutError(message)
        time.sleep(0.1)


def _text(
    options: Options,
    echoes: Sequence[_Load],
    decided: Sequence[_Load],
    frozen_s: Mapping[int, NDArray[np.float64]],
) -> str:
    rows = []
    for echo, ours in zip(echoes, decided, strict=True):
        added_ms = _quantiles_ms(ours.delays_s) - _quantiles_ms(echo.delays_s)
        rows += [
            _row("an echo: record read", echo.rate_per_s, echo.delays_s),
            _row("cardwatch: decision read", ours.rate_per_s, ours.delays_s),
            ["added by cardwatch", f"{ours.rate_per_s:,}", "", *(f"{ms:+.1f}" for ms in added_ms), ""],
            _row("cardwatch: card frozen in Redis", ours.rate_per_s, frozen_s[ours.rate_per_s]),
        ]
    return f"{results.machine_lines(options.busy_before)}\n\n{results.table(_HEAD, rows)}"


def _row(name: str, rate_per_s: int, seconds: NDArray[np.float64]) -> list[str]:
    figures = (*_quantiles_ms(seconds), seconds.max() * 1e3) if len(seconds) else ()
    return [name, f"{rate_per_s:,}", f"{len(seconds):,}", *(f"{ms:.1f}" for ms in figures)]


def _quantiles_ms(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.quantile(seconds, _PARTS) * 1e3)
