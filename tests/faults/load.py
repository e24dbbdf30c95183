"""Payments at a steady rate until told to end: some large, some twice, now and then one that breaks things."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import deque
from typing import Any

from confluent_kafka import Producer

from streams.topics import TRANSACTIONS
from tests.streams.stand_in import POISON_CURRENCY

_CARDS = 400
_LARGE_EVERY = 37
_TWICE_EVERY = 50


class Load(threading.Thread):
    """Writes payments.

    Attributes:
        acknowledged: records that Kafka has.
        refused: reason by key of records that are no payments.
        poisoned: how many payments broke the engine.
        in_transactions: write in Kafka's transactions, whose markers take offsets.
    """

    def __init__(self, servers: str, rate_per_s: float, seed: int) -> None:
        super().__init__(name="load")
        self.acknowledged = 0
        self.refused: dict[bytes, bytes] = {}
        self.poisoned = 0
        self.in_transactions = False
        self.failure: str | None = None
        self._rate_per_s = rate_per_s
        self._rng = random.Random(seed)
        self._end = threading.Event()
        self._extra: deque[tuple[bytes, bytes]] = deque()
        self._sent = 0
        # A broker may be away for minutes: payment systems wait as well.
        options = {"bootstrap.servers": servers, "partitioner": "murmur2_random", "message.timeout.ms": 900_000}
        # A broker that is killed between record and answer would have some twice of a producer that only tries again.
        self._plain = Producer(options | {"linger.ms": 2, "enable.idempotence": True})
        self._transactional = Producer(options | {"transactional.id": "load", "message.timeout.ms": 60_000})
        self._is_ready = False

    def run(self) -> None:
        """Send until told to end."""
        next_s = time.monotonic()
        while not self._end.is_set():
            next_s += 1 / self._rate_per_s
            self._end.wait(max(0.0, next_s - time.monotonic()))
            records = [self._payment()]
            while self._extra:
                records.append(self._extra.popleft())
            if self.in_transactions:
                self._in_transaction(records)
            else:
                self._send(self._plain, records)
        self._plain.flush(600)

    def finish(self) -> None:
        """End when Kafka has everything."""
        self._end.set()
        self.join()
        self._plain.close()
        self._transactional.close()

    def send_broken(self) -> None:
        """A record that is no payment."""
        key = b"broken-%d" % len(self.refused)
        self.refused[key] = b"not_json"
        self._extra.append((key, b'{"transaction_id": '))

    def send_poison(self) -> None:
        """A payment that our own code fails on."""
        self.poisoned += 1
        self._extra.append(self._payment(currency=POISON_CURRENCY, amount_minor=100))

    def _payment(self, **changes: Any) -> tuple[bytes, bytes]:
        number = self._sent
        self._sent += 1
        card = f"card-{self._rng.randrange(_CARDS)}"
        record = {
            "transaction_id": f"t-{number}", "card_token": card,
            # In no order, as payment systems are.
            "event_time_ms": time.time_ns() // 1_000_000 - self._rng.randrange(20_000),
            "amount_minor": 2_000_000 if number % _LARGE_EVERY == 0 else 100, "currency": "EUR",
        }  # fmt: skip
        made = card.encode(), json.dumps(record | changes).encode()
        if number % _TWICE_EVERY == 1 and not changes and number % _LARGE_EVERY:
            self._extra.append(made)
        return made

    def _send(self, producer: Producer, records: list[tuple[bytes, bytes]]) -> None:
        for key, value in records:
            while True:
                try:
                    producer.produce(TRANSACTIONS, value, key, on_delivery=self._delivered)
                except BufferError:
                    producer.poll(0.1)
                else:
                    break
        producer.poll(0)

    def _in_transaction(self, records: list[tuple[bytes, bytes]]) -> None:
        if not self._is_ready:
            self._transactional.init_transactions(30)
            self._is_ready = True
        self._transactional.begin_transaction()
        self._send(self._transactional, records)
        self._transactional.commit_transaction(30)

    def _delivered(self, error: Any, _: Any) -> None:
        if error is None:
            self.acknowledged += 1
        else:
            self.failure = str(error)
