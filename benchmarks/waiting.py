"""Callers that wait: POST /v1/transactions at a steady rate, a real Kafka and Redis, one worker, one API process."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections import Counter
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import numpy as np
from numpy.typing import NDArray

from api.keys import hash_key
from benchmarks import broker, http_load, results, workload
from benchmarks.options import Options
from benchmarks.processes import Watched
from cardwatch import warm
from cardwatch.embedded import DataDirectory
from cardwatch.metrics import PROCESS_VARIABLE, read_url
from cardwatch.simulator import Simulator
from cardwatch.simulator.wire import to_records
from tests.services.redis_server import running_redis

NAME = "waiting"
PURPOSE = "POST /v1/transactions at 500 requests a second, on a real Kafka and Redis"

_RATES_PER_S = (100, 500, 1_000)
_SECONDS = 20
_WARM_REQUESTS = 200
_CONNECTIONS = 128
# Far above the target: a slow answer shall be seen as one, not be cut off by the policy for deadlines.
_DEADLINE_MS = 5_000
_START_S = 180.0
_PATH = f"/v1/transactions?deadline_ms={_DEADLINE_MS}"


@dataclass(frozen=True, slots=True)
class Measured:
    """Requests at one rate."""

    rate_per_s: int
    seconds: NDArray[np.float64]
    late: int

    def row(self) -> list[str]:
        """A row of the table."""
        quantiles = np.quantile(self.seconds, (0.5, 0.99, 0.999)) * 1e3
        return [f"{self.rate_per_s:,}", f"{len(self.seconds):,}", *(f"{ms:.1f}" for ms in quantiles), str(self.late)]


def run(options: Options) -> None:
    """Measure, save, and write the table."""
    key = secrets.token_urlsafe(24)
    with broker.own_cluster() as (kafka, folder), running_redis(folder / "redis") as redis:
        warm.publish(kafka, workload.warmed_model())
        environment = {
            "CARDWATCH_DATA__DIRECTORY": str(folder / "data"),
            "CARDWATCH_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "CARDWATCH_REDIS__URL": redis.url,
            "CARDWATCH_DETECTOR__FINGERPRINT_KEY": secrets.token_hex(16),
            "CARDWATCH_API__SESSION_SECRET": secrets.token_hex(32),
            "CARDWATCH_DESK__CODE_SECRET": secrets.token_hex(32),
            "CARDWATCH_API__KEYS": json.dumps({"shop": {"role": "payment_system", "sha256": hash_key(key)}}),
            "CARDWATCH_API__PORT": "0",
            "CARDWATCH_METRICS__SCORE_PORT": "0",
        }
        worker = Watched(["cardwatch", "worker", "--roles", "score"], folder / "worker.log", environment)
        api = Watched(["cardwatch", "api"], folder / "api.log", environment | {PROCESS_VARIABLE: "api"})
        try:
            url = _started(DataDirectory(folder / "data"), key, worker, api)
            measured = [asyncio.run(_measure(url, key, rate, options)) for rate in _RATES_PER_S]
        finally:
            api.stop()
            worker.stop()
    results.save(NAME, {"rates": {one.rate_per_s: one.seconds.tolist() for one in measured}})
    results.write_section(NAME, _text(options, measured))


def _started(data: DataDirectory, key: str, *processes: Watched) -> str:
    """The service's address, once it decides payments.

    Raises:
        ProcessEndedError: a process ended.
        TimeoutError: no payment was decided in time.
    """
    deadline_s = time.monotonic() + _START_S
    while time.monotonic() < deadline_s:
        for process in processes:
            process.require_alive()
        url = read_url(data, "api")
        if url is not None and _decides(url, key):
            return url
        time.sleep(0.5)
    message = f"no payment was decided within {_START_S:.0f} s"
    raise TimeoutError(message)


def _decides(url: str, key: str) -> bool:
    """Whether a payment gets a decision of the engine."""
    body = {
        "transaction_id": f"first-{time.monotonic_ns()}", "card_token": "tok-first",
        "event_time_ms": workload.START_MS, "amount_minor": 100, "currency": "EUR",
    }  # fmt: skip
    try:
        answer = httpx.post(
            url + "/v1/transactions?deadline_ms=500", json=body, headers={"Authorization": f"Bearer {key}"}
        )
    except httpx.HTTPError:
        return False
    return answer.is_success and "degraded" not in answer.json()["flags"]


async def _measure(url: str, key: str, rate_per_s: int, options: Options) -> Measured:
    """One rate, after a few requests that are not counted."""
    host = urlsplit(url)
    count = _WARM_REQUESTS + rate_per_s * _SECONDS
    stream = Simulator(workload.STREAM_WORLD).stream(workload.START_MS)
    payments = to_records(stream.world, stream.take(count))
    # Each rate is asked about payments of its own: the same again would be answered as a duplicate.
    requests = [
        http_load.post(
            _PATH, host.netloc, key,
            json.dumps(payment | {"transaction_id": f"{rate_per_s}-{payment['transaction_id']}"}).encode(),
        )
        for payment in payments
    ]  # fmt: skip
    seconds, bodies = await http_load.steady(host.hostname or "", host.port or 0, requests, rate_per_s, _CONNECTIONS)
    counted = seconds[_WARM_REQUESTS:]
    kinds = Counter("degraded" in json.loads(body)["flags"] for body in bodies[_WARM_REQUESTS:])
    options.say(f"{rate_per_s}/s: p50 {np.median(counted) * 1e3:.1f} ms, p99 {np.quantile(counted, 0.99) * 1e3:.1f} ms")
    return Measured(rate_per_s, counted, kinds[True])


def _text(options: Options, measured: list[Measured]) -> str:
    head = ("requests/s", "requests", "p50, ms", "p99, ms", "p99.9, ms", "answered by the policy for deadlines")
    rows = [one.row() for one in measured]
    return f"{results.machine_lines(options.busy_before)}\n\n{results.table(head, rows)}"
