"""One real Kafka node in KRaft mode, broker and controller in one process, without a container.

The jars come from Maven Central (`tests/kafka/pom.xml`); `make test-kafka` fetches them.
"""

from __future__ import annotations

import os
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.services.certificates import Certificate
from tests.services.process import LOOPBACK, ServerProcess, ServiceError, free_ports

LIBS_VARIABLE = "CARDWATCH_KAFKA_LIBS"
_START_SECONDS = 90.0
_PROBE_SECONDS = 2.0

# Replication of one, no waiting for more members, sessions short enough that a killed worker's partitions move soon.
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers={host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}{more_listeners}
advertised.listeners=PLAINTEXT://{host}:{port}{more_listeners}
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL
log.dirs={directory}/data
auto.create.topics.enable=false
num.partitions=1
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
"""
# A second listener, which takes one user over TLS.
_SECURE_PROPERTIES = """\
listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location={directory}/server.pem
listener.name.secure.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
"""


@dataclass(frozen=True)
class Secured:
    """A user that a broker takes over TLS, and the broker's certificate."""

    user: str
    password: str
    certificate: Certificate


def kafka_libs() -> Path | None:
    """The folder of Kafka's jars, or None where `make test-kafka` has not fetched them."""
    default = Path(__file__).resolve().parents[2] / ".kafka" / "4.1.0"
    libs = Path(os.environ.get(LIBS_VARIABLE) or default)
    return libs if any(libs.glob("kafka_*.jar")) else None


class KafkaBroker:
    """A broker with data in a directory; `stop`, `kill` and `start` again keep port and data."""

    def __init__(
        self, libs: Path, directory: Path, *, heap_megabytes: int = 512, secured: Secured | None = None
    ) -> None:
        """Choose ports and write the configuration; nothing is started yet.

        Args:
            libs: folder of jars, see `kafka_libs`.
            directory: for configuration, data and log; made if missing.
            heap_megabytes: the most memory that the broker's heap may take.
            secured: adds a listener for this user, over TLS.
        """
        self._directory = directory
        self._libs = libs
        self._secured = secured
        self._port, controller_port, secure_port = free_ports(3)
        directory.mkdir(parents=True, exist_ok=True)
        self._properties = directory / "server.properties"
        self.secure_servers = f"{LOOPBACK}:{secure_port}"
        properties = _PROPERTIES.format(
            host=LOOPBACK,
            port=self._port,
            controller_port=controller_port,
            directory=directory,
            more_listeners="" if secured is None else f",SECURE://{self.secure_servers}",
        )
        if secured is not None:
            (directory / "server.pem").write_text(secured.certificate.pem())
            properties += _SECURE_PROPERTIES.format(directory=directory)
        self._properties.write_text(properties)
        heap = f"-Xmx{heap_megabytes}m"
        self._process = ServerProcess(
            ["java", heap, "-cp", f"{libs}/*", "kafka.Kafka", str(self._properties)], directory / "kafka.log"
        )
        self._formatted = False

    @property
    def bootstrap_servers(self) -> str:
        """What clients connect to."""
        return f"{LOOPBACK}:{self._port}"

    @property
    def alive(self) -> bool:
        """Whether the broker's process runs."""
        return self._process.alive

    def start(self) -> None:
        """Format the data directory once, start, and wait until a client is answered.

        Raises:
            ServiceError: the broker cannot be formatted or does not come up.
        """
        if not self._formatted:
            self._format()
        self._process.start(self._answers, seconds=_START_SECONDS)

    def stop(self) -> None:
        """Shut down in order."""
        self._process.stop()

    def kill(self) -> None:
        """End it as a power cut would, but for what the page cache keeps."""
        self._process.kill()

    def _format(self) -> None:
        cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        command = ["java", "-cp", f"{self._libs}/*", "kafka.tools.StorageTool", "format", "--standalone"]
        # An id may start with a dash: given as one word it is not taken for an option.
        command += [f"--cluster-id={cluster_id}", "-c", str(self._properties)]
        if self._secured is not None:
            user = f"name={self._secured.user},password={self._secured.password}"
            command += ["--add-scram", f"SCRAM-SHA-512=[{user}]"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_START_SECONDS)
        if done.returncode:
            message = f"formatting Kafka's data failed\n{done.stdout}{done.stderr}"
            raise ServiceError(message)
        self._formatted = True

    def _answers(self) -> bool:
        # librdkafka would print each refused connection until the broker is up.
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        try:
            return bool(admin.list_topics(timeout=_PROBE_SECONDS).brokers)
        except KafkaException:
            return False


@contextmanager
def running_kafka(
    directory: Path, *, libs: Path | None = None, secured: Secured | None = None
) -> Iterator[KafkaBroker]:
    """Run a broker for the time of a `with` block.

    Raises:
        ServiceError: no jars, or the broker does not come up.
    """
    libs = libs or kafka_libs()
    if libs is None:
        message = "Kafka is not here: run `make test-kafka`, which fetches it"
        raise ServiceError(message)
    broker = KafkaBroker(libs, directory, secured=secured)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()
