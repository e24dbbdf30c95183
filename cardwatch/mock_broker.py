"""The embedded Kafka broker: librdkafka's mock cluster, held by a process of its own.

The mock cluster comes inside the confluent-kafka wheel and speaks the Kafka protocol over TCP on loopback: producers
(idempotent ones too), consumer groups with commits, and any client library. The wheel's Python interface can only
switch it on (`test.mock.num.brokers`), with four partitions for every topic; its C interface can also create topics
with the partition counts they need and make groups assemble at once, so that is what is called here, through ctypes.
Where the shared library cannot be found (a build against a system librdkafka), the Python switch is used if four
partitions are what every topic needs.

Limits, all of them librdkafka's: records live in memory and are forgotten with the process; a partition keeps its last
5 MiB or 100,000 batches, whatever nobody has read by then is gone; nothing is compacted; topics cannot be created or
described through the admin protocol; offsets cannot be looked up by time.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib.metadata
import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cardwatch.errors import CardwatchError, ServiceError

if TYPE_CHECKING:
    from confluent_kafka import Producer

_RD_KAFKA_PRODUCER = 0
_RD_KAFKA_CONF_OK = 0
_ERROR_TEXT_BYTES = 512
_METADATA_TIMEOUT_S = 10.0
# What the mock cluster gives every topic that nobody created.
AUTOMATIC_PARTITIONS = 4


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where a broker listens, and which cluster it is."""

    bootstrap_servers: str
    cluster_id: str
    pid: int

    @classmethod
    def read(cls, path: Path) -> BrokerAddress | None:
        """Read the file that a broker process wrote; None while there is none."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            return cls(**json.loads(path.read_text("utf-8")))
        return None

    def write(self, path: Path) -> None:
        """Write the file in one step, so that a reader never sees half of it."""
        written = path.with_suffix(".tmp")
        written.write_text(json.dumps(asdict(self)), "utf-8")
        written.replace(path)


class MockCluster:
    """One mock broker with the topics asked for; lives until `close`."""

    def __init__(self, topics: Mapping[str, int]) -> None:
        """Start the broker on a free loopback port.

        Args:
            topics: partition count by topic name.

        Raises:
            ServiceError: librdkafka cannot start it, or cannot give a topic its partition count.
        """
        library = _load_librdkafka()
        self._switch: Producer | None = None
        if library is None:
            self.bootstrap_servers = self._start_by_switch(topics)
        else:
            self.bootstrap_servers = self._start_by_library(library, topics)
        self.cluster_id = _cluster_id(self.bootstrap_servers)

    def address(self) -> BrokerAddress:
        """Address of the cluster in this process."""
        return BrokerAddress(self.bootstrap_servers, self.cluster_id, os.getpid())

    def close(self) -> None:
        """Stop the broker; every record is forgotten."""
        if self._switch is not None:
            self._switch = None
            return
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._handle)

    def _start_by_library(self, library: ctypes.CDLL, topics: Mapping[str, int]) -> str:
        _declare(library)
        self._library = library
        text = ctypes.create_string_buffer(_ERROR_TEXT_BYTES)
        configuration = library.rd_kafka_conf_new()
        # Otherwise librdkafka warns that this producer, which never produces, has no broker.
        if library.rd_kafka_conf_set(configuration, b"log_level", b"3", text, len(text)) != _RD_KAFKA_CONF_OK:
            raise ServiceError(text.value.decode())
        self._handle = library.rd_kafka_new(_RD_KAFKA_PRODUCER, configuration, text, len(text))
        if not self._handle:
            message = f"the embedded broker cannot be started: {text.value.decode()}"
            raise ServiceError(message)
        self._cluster = library.rd_kafka_mock_cluster_new(self._handle, 1)
        if not self._cluster:
            message = "the embedded broker cannot be started: no free port on 127.0.0.1?"
            raise ServiceError(message)
        # 3 s by default: every start of every consumer group would wait that long for further members.
        library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        for name, partitions in topics.items():
            code = library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1)
            if code != 0:
                message = f"the embedded broker refuses topic {name} with {partitions} partitions (code {code})"
                raise ServiceError(message)
        return str(library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode())

    def _start_by_switch(self, topics: Mapping[str, int]) -> str:
        from confluent_kafka import Producer  # noqa: PLC0415  only where the library cannot be called directly

        unfit = sorted(name for name, partitions in topics.items() if partitions != AUTOMATIC_PARTITIONS)
        if unfit:
            message = (
                "this build of confluent-kafka has no librdkafka library beside it, so the embedded broker gives every "
                f"topic {AUTOMATIC_PARTITIONS} partitions, which is wrong for {', '.join(unfit)}; install the "
                "confluent-kafka wheel, or point --broker at a Kafka broker"
            )
            raise ServiceError(message)
        self._switch = Producer({"test.mock.num.brokers": 1})
        metadata = self._switch.list_topics(timeout=_METADATA_TIMEOUT_S)
        broker = next(iter(metadata.brokers.values()))
        for name in topics:
            self._switch.list_topics(name, timeout=_METADATA_TIMEOUT_S)
        return f"{broker.host}:{broker.port}"


def _load_librdkafka() -> ctypes.CDLL | None:
    """The shared library inside the confluent-kafka wheel; None where there is none with the mock interface."""
    import confluent_kafka  # noqa: F401, PLC0415  loads the library and what it depends on

    for file in importlib.metadata.files("confluent-kafka") or ():
        if file.name.startswith("librdkafka") and file.suffix != ".py":
            with contextlib.suppress(OSError, AttributeError):
                library = ctypes.CDLL(str(file.locate()))
                # An experimental interface: a later librdkafka may have taken it away.
                getattr(library, "rd_kafka_mock_topic_create")  # noqa: B009  looked up for its AttributeError
                return library
    return None


def _declare(library: ctypes.CDLL) -> None:
    """Tell ctypes the types of what is called: pointers would otherwise be cut to 32 bits."""
    pointer, text, integer = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    signatures: dict[str, tuple[object, tuple[object, ...]]] = {
        "rd_kafka_conf_new": (pointer, ()),
        "rd_kafka_conf_set": (integer, (pointer, text, text, text, ctypes.c_size_t)),
        "rd_kafka_new": (pointer, (integer, pointer, text, ctypes.c_size_t)),
        "rd_kafka_destroy": (None, (pointer,)),
        "rd_kafka_mock_cluster_new": (pointer, (pointer, integer)),
        "rd_kafka_mock_cluster_destroy": (None, (pointer,)),
        "rd_kafka_mock_cluster_bootstraps": (text, (pointer,)),
        "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, (pointer, ctypes.c_int32)),
        "rd_kafka_mock_topic_create": (integer, (pointer, text, integer, integer)),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments


def _cluster_id(bootstrap_servers: str) -> str:
    from confluent_kafka.admin import AdminClient  # noqa: PLC0415  heavy, and only a broker process needs it

    metadata = AdminClient({"bootstrap.servers": bootstrap_servers}).list_topics(timeout=_METADATA_TIMEOUT_S)
    return str(metadata.cluster_id)


def main(arguments: list[str]) -> int:
    """Hold a mock cluster until SIGTERM or SIGINT, its address written to a file once it can be used."""
    parser = argparse.ArgumentParser(prog="python -m cardwatch.mock_broker", description=__doc__)
    parser.add_argument("--address-file", type=Path, required=True)
    parser.add_argument("--topics", type=json.loads, required=True, help="JSON: partition count by topic name")
    options = parser.parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    try:
        cluster = MockCluster(options.topics)
    except CardwatchError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    cluster.address().write(options.address_file)
    stop.wait()
    options.address_file.unlink(missing_ok=True)
    cluster.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
