"""`python -m benchmarks.echo BROKER FROM TO`: copies records from one topic to another, and does nothing else.

What a worker adds to this is its own; the rest is Kafka's, on this machine, with the settings that cardwatch ships.
"""

from __future__ import annotations

import signal
import sys
import types

from confluent_kafka import Consumer, Producer

from benchmarks import broker
from cardwatch.kafka import client_options
from cardwatch.settings import load_settings

_AT_ONCE = 1_000
_POLL_S = 0.05


def main(bootstrap_servers: str, source: str, target: str) -> None:
    """Copy until SIGTERM."""
    options = client_options(broker.kafka_settings(bootstrap_servers))
    linger_ms = load_settings().score.linger_ms
    consumer = Consumer(options | {"group.id": "echo", "auto.offset.reset": "earliest", "enable.auto.commit": True})
    producer = Producer(options | {"linger.ms": linger_ms, "enable.idempotence": True, "acks": "all"})
    ended = False

    def end(_number: int, _frame: types.FrameType | None) -> None:
        nonlocal ended
        ended = True

    signal.signal(signal.SIGTERM, end)
    consumer.subscribe([source])
    while not ended:
        # `consume` alone would wait for so many records or to the end of its time.
        first = consumer.poll(_POLL_S)
        for message in [] if first is None else [first, *consumer.consume(_AT_ONCE, 0)]:
            producer.produce(target, message.value(), message.key(), message.partition() or 0)
        producer.poll(0)
    producer.flush()
    consumer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
