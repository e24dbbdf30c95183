"""The whole of cardwatch on one machine: embedded services, workers, API and simulated payments as one tree."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

import httpx

from cardwatch import kafka
from cardwatch.embedded import DataDirectory, broker_spec, module_command, redis_spec, redis_url, start_clean
from cardwatch.errors import ServiceError, SettingsError
from cardwatch.metrics import PROCESS_VARIABLE, Reading, address_file, read_metrics, read_url
from cardwatch.mock_broker import BrokerAddress
from cardwatch.ports import listening_problem
from cardwatch.services import Layers, RunningServices, own_secrets
from cardwatch.settings import Settings, Tree
from cardwatch.simulator.world import WorldSettings
from cardwatch.supervisor import ProcessSpec, Supervisor

ROLES = ("score", "respond", "learn", "history", "notify")
AGENT, SRE = "demo-agent", "demo-sre"
_KEY_ROLES = {AGENT: "senior_agent", SRE: "sre"}
# Importing Numba and loading compiled kernels takes a few seconds, compiling them for the first time half a minute,
# and a laptop may have a single slow core.
_WORKER_READY_S = 180.0
_WARM_WITHIN_S = 300.0
_PROBE_TIMEOUT_S = 1.0
_KEY_BYTES = 24


@dataclass(frozen=True, slots=True)
class Traffic:
    """The simulated payments: whose world, and how many a second; a rate of 0 sends none."""

    world: WorldSettings
    rate_per_s: float


class System:
    """Everything that `cardwatch demo` runs. `start`, then `watch` a few times a second, then `stop`."""

    def __init__(self, layers: Layers, traffic: Traffic, say: Callable[[str], None]) -> None:
        """Read the settings; nothing is started.

        Args:
            layers: what the user gave; Kafka and Redis without an address are started by us.
            traffic: what is played into Kafka.
            say: told in sentences what happens.

        Raises:
            SettingsError: a setting is wrong, or a demo already runs in the data directory.
            ServiceError: the data directory cannot be used.
        """
        settings = layers.load()
        self.data = DataDirectory(settings.data.directory.absolute())
        other = RunningServices.find(self.data)
        if other is not None:
            message = f"a demo runs in {self.data.root} already (process {other.pid}); choose another --data-dir"
            raise SettingsError(message)
        self.data.create()
        self.api_keys = {name: secrets.token_urlsafe(_KEY_BYTES) for name in _KEY_ROLES}
        self.traffic = traffic
        self.supervisor = Supervisor(self.data.logs, say=say)
        self.own_redis = not settings.redis.url.get_secret_value()
        self._say = say
        self._layers = self._own_layers(layers, settings)
        self.settings: Settings = self._layers.load()
        self._http = httpx.Client(timeout=_PROBE_TIMEOUT_S)

    @property
    def api_url(self) -> str:
        """Where the API answers, empty before it does."""
        return read_url(self.data, "api") or ""

    def start_services(self) -> None:
        """Start what has no address: Kafka, then Redis; and see that the topics are there.

        Raises:
            ServiceError: one cannot be started or reached.
        """
        if self.settings.kafka.bootstrap_servers:
            self._prepare_real_kafka()
        else:
            self._start_embedded_kafka()
        if self.own_redis:
            self.supervisor.start(redis_spec(self.data))
            self._more_flags({"redis": {"url": redis_url(self.data)}})

    def warm(self) -> None:
        """Compile the kernels, train the first model and publish it, where that has not been done.

        Raises:
            ServiceError: it failed; the log says why.
        """
        self.supervisor.run(self._spec("warm", "warm", "--publish"), _WARM_WITHIN_S)

    def start_workers(self) -> None:
        """Start the roles and the API; returns when all do their work.

        Raises:
            ServiceError: one does not start.
        """
        for name in (*ROLES, "api"):
            address_file(self.data, name).unlink(missing_ok=True)
        roles = [
            self._spec(role, "worker", "--roles", role, ready=partial(self._answers, role, "/metrics"))
            for role in ROLES
        ]
        api = self._spec("api", "api", ready=partial(self._answers, "api", "/readyz"))
        self.supervisor.start(*roles, api)
        RunningServices(
            pid=os.getpid(),
            flags=self._layers.flags,
            api_url=self.api_url,
            api_keys=self.api_keys,
            world=asdict(self.traffic.world),
        ).publish(self.data)

    def start_traffic(self) -> None:
        """Let the simulated payments flow.

        Raises:
            ServiceError: the simulator cannot be started.
        """
        if self.traffic.rate_per_s <= 0:
            return
        world = self.traffic.world
        arguments = {
            "--broker": self.settings.kafka.bootstrap_servers,
            "--rate": self.traffic.rate_per_s,
            "--seed": world.seed,
            "--cards": world.cards,
            "--merchants": world.merchants,
            "--payments-per-card-day": world.payments_per_card_day,
            "--attacks": world.attacks_per_thousand_cards_day,
        }
        flags = [str(part) for pair in arguments.items() for part in pair]
        self.supervisor.start(self._spec("simulator", "simulate", *flags))

    def readings(self) -> dict[str, Reading]:
        """The metrics of every role and of the API now; empty where one does not answer."""
        urls = {name: read_url(self.data, name) for name in (*ROLES, "api")}
        return {name: read_metrics(url) if url else Reading() for name, url in urls.items()}

    def stop(self) -> None:
        """Stop everything, the last started first."""
        RunningServices.withdraw(self.data)
        self.supervisor.stop()
        self._http.close()

    def _own_layers(self, layers: Layers, settings: Settings) -> Layers:
        """The user's layers with what a trial needs besides: secrets, keys, ports that are free."""
        keys = {
            name: {"role": role, "sha256": hashlib.sha256(self.api_keys[name].encode()).hexdigest()}
            for name, role in _KEY_ROLES.items()
        }
        flags: Tree = {
            "data": {"directory": str(self.data.root)},
            "api": {"keys": keys},
            "metrics": {f"{role}_port": 0 for role in ROLES},
        }
        own = own_secrets(self.data)
        if not settings.detector.fingerprint_key.get_secret_value():
            flags["detector"] = own["detector"]
        if not settings.desk.code_secret.get_secret_value():
            flags["desk"] = own["desk"]
        if not settings.api.session_secret.get_secret_value():
            flags["api"].update(own["api"])
        if listening_problem(settings.api.host, settings.api.port):
            self._say(f"port {settings.api.port} is taken, so the API gets another one")
            flags["api"]["port"] = 0
        return layers.with_flags(flags)

    def _more_flags(self, flags: Tree) -> None:
        self._layers = self._layers.with_flags(flags)
        self.settings = self._layers.load()

    def _start_embedded_kafka(self) -> None:
        self.supervisor.start(broker_spec(self.data, kafka.wanted_topics(self.settings.kafka)))
        address = BrokerAddress.read(self.data.broker_address_file)
        if address is None:
            message = f"the embedded broker's address is gone: {self.data.broker_address_file}"
            raise ServiceError(message)
        self._more_flags({"kafka": {"bootstrap_servers": address.bootstrap_servers, "embedded": True}})
        told = start_clean(self.data, address.cluster_id)
        if told:
            self._say(told)

    def _prepare_real_kafka(self) -> None:
        settings = self.settings.kafka
        cluster = kafka.look_at(settings)
        if settings.replication_factor > cluster.brokers:
            # A trial on one broker shall not fail on a default that is right for three.
            self._more_flags({"kafka": {"replication_factor": cluster.brokers}})
        missing = [topic.name for topic in kafka.compare_topics(settings, cluster) if topic.found is None]
        if missing:
            self._say(f"making {len(missing)} topics")
            kafka.create_topics(self.settings.kafka, missing)

    def _spec(self, name: str, *arguments: str, ready: Callable[[], bool] | None = None) -> ProcessSpec:
        return ProcessSpec(
            name=name,
            command=module_command("cardwatch", *arguments),
            environment=self._layers.environment() | {PROCESS_VARIABLE: name},
            ready=ready,
            ready_within_s=_WORKER_READY_S,
            # Above the 25 s after which a worker ends itself and says what it hung on.
            stop_within_s=30.0,
        )

    def _answers(self, name: str, path: str) -> bool:
        url = read_url(self.data, name)
        try:
            return url is not None and self._http.get(url + path).is_success
        except httpx.HTTPError:
            return False
