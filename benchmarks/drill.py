"""A drill: a running system under a real Prometheus, with one fault after the other, and who is paged when.

The system is a demo's: embedded Kafka and Redis, a process for each role and the API, simulated payments. Windows of
the rules are shortened, so that an hour passes within a minute; limits that count events are lowered likewise. Nothing
else differs from what is shipped.
"""

from __future__ import annotations

import base64
import contextlib
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from cardwatch.metrics import endpoints
from cardwatch.monitoring.documents import Node, to_yaml
from cardwatch.monitoring.objectives import SHIPPED, Promises, promises_of
from cardwatch.monitoring.rules import RECORDING_FILE, all_alerts, rule_files
from cardwatch.monitoring.windows import Windows
from cardwatch.services import Layers
from cardwatch.settings import shipped_toml
from cardwatch.simulator import WorldSettings
from cardwatch.system import System, Traffic
from casework.webhooks import LEAST_SECRET_BYTES, SECRET_PREFIX

# An hour is a minute, five minutes are the ten seconds that hold enough scrapes.
_SHORTENED = Windows(scale=1 / 60, least_s=10.0)
# Six hours without a label are half a minute.
_LABELS_SHORTENED = Windows(scale=1 / 720, least_s=10.0)
_LABELS_ALERT = "LabelsStalled"
_POLL_S = 0.25
_QUIET_S = 12.0
_HELD_S = 8.0
# Within so long a fault must be told; the alerts wait for a few seconds at most here.
TOLD_WITHIN_S = 90.0


def drill_promises() -> Promises:
    """The shipped promises, with limits that a drill of seconds can reach.

    Times that must be kept are loosened: a machine that also plays the payments is no measure of them, and nobody sits
    at the desk.
    """
    tree = shipped_toml(SHIPPED)
    tree["objectives"]["decision_latency"]["within_s"] = 10.0
    tree["objectives"]["freeze_latency"]["within_s"] = 10.0
    tree["objectives"]["urgent_touch"]["within_s"] = 28_800.0
    tree["alerts"] |= {"freeze_storm_least": 8, "labels_stalled_alerts": 3, "checkpoint_stale_s": 15, "clock_skew_s": 5}
    tree["alerts"]["webhooks_waiting_s"] = 5
    return promises_of(tree)


def drill_rules() -> dict[str, str]:
    """The files of rules, shortened."""
    promises = drill_promises()
    files = rule_files(promises, _SHORTENED, interval_s=1.0)
    rules: list[Node] = []
    for alert in all_alerts(promises, _SHORTENED):
        windows = _LABELS_SHORTENED if alert.name == _LABELS_ALERT else _SHORTENED
        chosen = next(
            it for it in all_alerts(promises, windows) if (it.name, it.severity) == (alert.name, alert.severity)
        )
        rules.append(chosen.rule(promises.runbooks, windows))
    group: Node = {"name": "cardwatch-alerts", "interval": "1s", "rules": rules}
    return {RECORDING_FILE: files[RECORDING_FILE], "alerts.rules.yml": to_yaml({"groups": [group]})}


class Prometheus:
    """Debian's Prometheus, scraping the processes of a system every second."""

    def __init__(self, folder: Path, targets: dict[str, str], rules: dict[str, str]) -> None:
        """Start it on a free port.

        Args:
            folder: for its files.
            targets: URL by kind of process.
            rules: files of rules by name.
        """
        folder.mkdir(parents=True)
        for name, text in rules.items():
            (folder / name).write_text(text, "utf-8")
        scrape: Node = {
            "job_name": "cardwatch",
            "static_configs": [
                {"targets": [url.removeprefix("http://")], "labels": {"process": name}} for name, url in targets.items()
            ],
        }
        config: dict[str, Node] = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s", "scrape_timeout": "1s"},
            "rule_files": list(rules),
            "scrape_configs": [scrape],
        }
        (folder / "prometheus.yml").write_text(to_yaml(config), "utf-8")
        with socket.create_server(("127.0.0.1", 0)) as found:
            port = found.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "prometheus",
                    "--config.file=prometheus.yml",
                    "--storage.tsdb.path=data",
                    f"--web.listen-address=127.0.0.1:{port}",
                    "--enable-feature=exemplar-storage",
                ],
                cwd=folder,
                stdout=log,
                stderr=log,
            )

    def ask(self, path: str, **arguments: str) -> Any:
        """The data of an answer of Prometheus' API; None while it does not answer."""
        with contextlib.suppress(httpx.HTTPError, ValueError):
            return httpx.get(f"{self.url}/api/v1/{path}", params=arguments, timeout=5).json()["data"]
        return None

    def query(self, expression: str) -> list[Any]:
        """What an expression gives now."""
        answer = self.ask("query", query=expression)
        return [] if answer is None else list(answer["result"])

    def firing(self, severity: str | None = None) -> set[str]:
        """Names of the alerts that fire, of one severity or all."""
        answer = self.ask("alerts") or {"alerts": []}
        return {
            alert["labels"]["alertname"]
            for alert in answer["alerts"]
            if alert["state"] == "firing" and severity in {None, alert["labels"]["severity"]}
        }

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(30)


@dataclass(frozen=True, slots=True)
class Told:
    """What a fault led to.

    Attributes:
        fault: what was done.
        alert: the alert that was expected.
        seconds: from the fault to the alert; None: it did not come in time.
        pages: everything that paged while the fault lasted.
    """

    fault: str
    alert: str
    seconds: float | None
    pages: frozenset[str]


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault and what must come of it.

    Attributes:
        name: what is done, for people.
        alert: that must fire.
        inject: begins it; a context that ends it.
        may_page: pages that belong to it.
    """

    name: str
    alert: str
    inject: Callable[[Drill], contextlib.AbstractContextManager[None]]
    may_page: frozenset[str]


class _Bank:
    """A system that is told of cases and cards, as well as it is told to answer: `status` is its answer."""

    def __init__(self) -> None:
        """Listen on a free port."""
        bank = self
        self.status = HTTPStatus.NO_CONTENT

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                self.send_response(bank.status)
                self.end_headers()

            def log_message(self, *_said: object) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="bank")
        self._thread.start()

    def settings(self) -> dict[str, Any]:
        """How it is configured as an endpoint."""
        secret = f"{SECRET_PREFIX}{base64.b64encode(secrets.token_bytes(LEAST_SECRET_BYTES)).decode()}"
        url = f"http://127.0.0.1:{self._server.server_port}/hooks"
        return {"url": url, "events": ["case.*", "card.*"], "secret": secret, "private": True}

    def stop(self) -> None:
        """Listen no longer."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Drill:
    """A running system and the Prometheus that watches it."""

    def __init__(self, folder: Path, rate_per_s: float = 20.0) -> None:
        """Start everything; returns once payments are decided and nothing pages.

        Args:
            folder: the data directory of the system lies in it; may hold one with a warm model.
            rate_per_s: simulated payments.
        """
        world = WorldSettings(cards=20_000, payments_per_card_day=4.0, attacks_per_thousand_cards_day=0.0)
        self.bank = _Bank()
        flags = {
            "data": {"directory": str(folder / "data")},
            "api": {"port": 0},
            "detector": {"cards": 50_000},
            "webhooks": {"endpoints": {"bank": self.bank.settings()}},
        }
        self.system = System(Layers(None, flags), Traffic(world, rate_per_s), say=lambda _text: None)
        self.prometheus: Prometheus | None = None
        try:
            self.system.start_services()
            self.system.warm()
            self.system.start_workers()
            self.system.start_traffic()
            self.watched = Prometheus(folder / "prometheus", self.targets(), drill_rules())
            self.prometheus = self.watched
            self.until(lambda: bool(self.watched.query("cardwatch_transactions_total > 100")), 300.0)
        except BaseException:
            self.stop()
            raise

    def targets(self) -> dict[str, str]:
        """URL of every process, by its kind."""
        return endpoints(self.system.data, self.system.settings)

    def stop(self) -> None:
        """End everything."""
        if self.prometheus is not None:
            self.prometheus.stop()
        self.system.stop()
        self.bank.stop()

    def until(self, condition: Callable[[], bool], within_s: float) -> bool:
        """Poll, with an eye on the processes; whether the condition came to hold in time."""
        deadline_s = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > deadline_s:
                return False
            self.system.supervisor.watch()
            time.sleep(_POLL_S)
        return True

    def until_quiet(self, within_s: float = 180.0) -> bool:
        """Wait until nothing has paged for some seconds."""
        quiet_since_s = time.monotonic()

        def is_quiet() -> bool:
            nonlocal quiet_since_s
            if self.watched.firing("page"):
                quiet_since_s = time.monotonic()
            return time.monotonic() - quiet_since_s > _QUIET_S

        return self.until(is_quiet, within_s)

    def play(self, fault: Fault, meanwhile: Callable[[], None] | None = None) -> Told:
        """Inject a fault, and see what is told until its alert comes; then end the fault.

        Args:
            fault: to inject.
            meanwhile: done once the alert has come, while the fault still lasts.
        """
        pages: set[str] = set()

        def told() -> bool:
            pages.update(self.watched.firing("page"))
            return fault.alert in pages | self.watched.firing()

        with fault.inject(self):
            began_s = time.monotonic()
            came = self.until(told, TOLD_WITHIN_S)
            seconds = time.monotonic() - began_s
            if came and meanwhile is not None:
                meanwhile()
            # What else pages while the fault goes on?
            self.until(lambda: not told(), _HELD_S)
        return Told(fault.name, fault.alert, seconds if came else None, frozenset(pages))

    def pid(self, name: str) -> int:
        """The process of this name.

        Raises:
            ProcessLookupError: it does not run.
        """
        found = self.system.supervisor.pid(name)
        if found is None:
            raise ProcessLookupError(name)
        return found
