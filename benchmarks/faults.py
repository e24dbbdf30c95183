"""The faults of a drill, each as it happens: a process that stops, a store that hangs, records that cannot be read."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

import httpx
from confluent_kafka import Producer

from benchmarks.drill import Drill, Fault
from cardwatch.system import AGENT
from streams.topics import LABELS, TRANSACTIONS

_EVERY_S = 0.5
_LABELS_FLOW_WITHIN_S = 60.0
_TESTED_CARDS = 30
# One more than the rule of tested cards asks for.
_TRIES = 9


class _Writer:
    """Writes records of our own making to the embedded broker."""

    def __init__(self, drill: Drill) -> None:
        self._producer = Producer(
            {"bootstrap.servers": drill.system.settings.kafka.bootstrap_servers, "partitioner": "murmur2_random"}
        )

    def write(self, topic: str, key: str, value: bytes) -> None:
        self._producer.produce(topic, value, key.encode())
        self._producer.poll(0)

    def pay(self, card: str, number: int) -> None:
        now_ms = time.time_ns() // 1_000_000
        payment: Mapping[str, Any] = {
            "transaction_id": f"drill-{now_ms}-{number}",
            "card_token": card,
            "event_time_ms": now_ms,
            "amount_minor": 100,
            "currency": "EUR",
            "channel": "ecom",
        }
        self.write(TRANSACTIONS, card, json.dumps(payment).encode())

    def label(self, number: int) -> None:
        label: Mapping[str, Any] = {
            "transaction_id": f"unknown-{number}",
            "card_token": f"card-{number}",
            "label": "genuine",
            "source": "import",
            "label_time_ms": time.time_ns() // 1_000_000,
        }
        self.write(LABELS, f"card-{number}", json.dumps(label).encode())

    def flush(self) -> None:
        self._producer.flush(10)


@contextlib.contextmanager
def _again_and_again(work: Callable[[int], None]) -> Iterator[None]:
    """Do something twice a second in a thread of its own while the block lasts."""
    end = threading.Event()

    def run() -> None:
        number = 0
        while not end.wait(_EVERY_S):
            work(number)
            number += 1

    thread = threading.Thread(target=run, name="fault")
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def _stopped(name: str) -> Callable[[Drill], contextlib.AbstractContextManager[None]]:
    """A process that hangs: it keeps its ports and answers nobody."""

    @contextlib.contextmanager
    def inject(drill: Drill) -> Iterator[None]:
        process = drill.pid(name)
        os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(process, signal.SIGCONT)

    return inject


@contextlib.contextmanager
def _poison(drill: Drill) -> Iterator[None]:
    """A producer that writes something else."""
    writer = _Writer(drill)

    def write(number: int) -> None:
        for place in range(20):
            writer.write(TRANSACTIONS, f"poison-{place}", b'{"transaction_id": %d, not JSON' % number)

    with _again_and_again(write):
        yield
    writer.flush()


@contextlib.contextmanager
def _freeze_storm(drill: Drill) -> Iterator[None]:
    """Numbers of many cards are tried: the rule freezes each of them."""
    writer = _Writer(drill)
    stamp = time.time_ns()
    for number in range(_TESTED_CARDS * _TRIES):
        writer.pay(f"drill-{stamp}-{number % _TESTED_CARDS}", number)
    writer.flush()
    yield


@contextlib.contextmanager
def _labels_stopped(drill: Drill) -> Iterator[None]:
    """Labels came and come no more, while alerts go on."""
    writer = _Writer(drill)
    with _again_and_again(writer.label):
        drill.until(
            lambda: (
                bool(drill.watched.query("sum(increase(cardwatch_labels_total[10s])) > 0"))
                and "LabelsStalled" not in drill.watched.firing()
            ),
            _LABELS_FLOW_WITHIN_S,
        )
    card = f"drill-{time.time_ns()}"
    with _again_and_again(lambda number: writer.pay(card, number)):
        yield
    writer.flush()


@contextlib.contextmanager
def _endpoint_away(drill: Drill) -> Iterator[None]:
    """A system that is told of cards answers that it is away, while a card is frozen."""
    drill.bank.status = HTTPStatus.SERVICE_UNAVAILABLE
    card = f"drill-{time.time_ns()}"
    headers = {"Authorization": f"Bearer {drill.system.api_keys[AGENT]}", "Idempotency-Key": card}
    url = f"{drill.system.api_url}/v1/cards/{card}/freeze"
    httpx.post(url, headers=headers, json={"reason": "a drill"}, timeout=10).raise_for_status()
    try:
        yield
    finally:
        drill.bank.status = HTTPStatus.NO_CONTENT


@contextlib.contextmanager
def _no_room_for_checkpoints(drill: Drill) -> Iterator[None]:
    """A file stands where the folder of checkpoints was."""
    folder = drill.system.data.checkpoints
    aside = folder.with_name("checkpoints-aside")
    folder.rename(aside)
    folder.write_text("in the way", "utf-8")
    try:
        yield
    finally:
        folder.unlink()
        aside.rename(folder)


FAULTS = (
    Fault("score worker stopped", "ScorerSilent", _stopped("score"), frozenset({"ScorerSilent"})),
    Fault("respond worker stopped", "ProcessMissing", _stopped("respond"), frozenset({"ProcessMissing"})),
    Fault("Redis paused", "RedisRefusingWrites", _stopped("redis"), frozenset({"RedisRefusingWrites"})),
    Fault("poison records", "DeadLettersGrowing", _poison, frozenset({"DeadLettersGrowing"})),
    Fault("freeze storm", "FreezeStorm", _freeze_storm, frozenset({"FreezeStorm"})),
    Fault("no room for checkpoints", "CheckpointStale", _no_room_for_checkpoints, frozenset()),
    Fault("endpoint of webhooks away", "WebhooksUndelivered", _endpoint_away, frozenset()),
    Fault("labels stopped", "LabelsStalled", _labels_stopped, frozenset()),
)
