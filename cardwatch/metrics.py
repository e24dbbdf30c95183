"""Where processes show their metrics: written down by each, found and read by others."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from cardwatch.embedded import DataDirectory
from cardwatch.settings import Settings
from telemetry.metric import Process

# Name of a process in the tree that started it.
PROCESS_VARIABLE = "CARDWATCH_PROCESS"
_READ_TIMEOUT_S = 1.0


def address_file(data: DataDirectory, name: str) -> Path:
    """Where a process writes down on which port it answers."""
    return data.run / f"{name}.json"


def read_url(data: DataDirectory, name: str) -> str | None:
    """Where the named process answers, None while it has not written it down."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads(address_file(data, name).read_text("utf-8"))["url"])
    return None


def write_url(data: DataDirectory, kind: str, host: str, port: int, *, tls: bool = False) -> str:
    """Write down, in one step, where this process answers; its URL.

    Args:
        data: the file goes to its `run/`.
        kind: what the process is. Its name in the tree that started it is the file's; a process that was started by
            hand has its id in the name, so that it does not pass for one of a tree in the same directory.
        host: where it listens.
        port: likewise.
        tls: whether it speaks TLS there.
    """
    name = os.environ.get(PROCESS_VARIABLE) or f"{kind}-{os.getpid()}"
    url = address(host, port, tls=tls)
    path = address_file(data, name)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = path.with_suffix(".tmp")
    written.write_text(json.dumps({"url": url}), "utf-8")
    written.replace(path)
    return url


def endpoints(data: DataDirectory, settings: Settings) -> dict[str, str]:
    """Where processes of this machine answer, by their names: written down by each, else at the configured ports."""
    found = {
        path.stem: url for path in sorted(data.run.glob("*.json")) if (url := read_url(data, path.stem)) is not None
    }
    configured: dict[str, tuple[str, int]] = {
        role: (settings.metrics.host, settings.metrics.port(role)) for role in Process if role is not Process.API
    }
    configured["api"] = (settings.api.host, settings.api.port)
    for name, (host, port) in configured.items():
        if port and name not in found:
            found[name] = address(host, port)
    return found


def address(host: str, port: int, *, tls: bool = False) -> str:
    """The URL of a port of a host."""
    return f"http{'s' if tls else ''}://{f'[{host}]' if ':' in host else host}:{port}"


@dataclass(frozen=True, slots=True)
class Reading:
    """All samples of one endpoint at one moment, by name and labels."""

    samples: tuple[tuple[str, Mapping[str, str], float], ...] = ()

    def total(self, name: str, /, **labels: str) -> float:
        """Sum of the samples of this name that have these labels; 0 where there are none."""
        return sum(value for _, value in self.select(name, **labels))

    def select(self, name: str, /, **labels: str) -> Iterator[tuple[Mapping[str, str], float]]:
        """The samples of this name that have these labels."""
        for found, has, value in self.samples:
            if found == name and labels.items() <= has.items():
                yield has, value

    def quantile(self, name: str, share: float, before: Reading | None = None) -> float | None:
        """A quantile of a histogram, linear within its bucket; of what came since `before` where that is given.

        Args:
            name: of the histogram, without `_bucket`.
            share: 0.5 is the median.
            before: an earlier reading of the same endpoint.

        Returns:
            None where nothing was observed.
        """
        buckets: dict[float, float] = {}
        for sign, reading in ((1.0, self), (-1.0, before or Reading())):
            for labels, count in reading.select(f"{name}_bucket"):
                edge = float(labels["le"])
                buckets[edge] = buckets.get(edge, 0.0) + sign * count
        edges = sorted(buckets)
        if not edges or buckets[edges[-1]] <= 0:
            return None
        wanted = share * buckets[edges[-1]]
        lower_edge = lower_count = 0.0
        for edge in edges:
            count = buckets[edge]
            if count >= wanted and count > lower_count:
                if edge == float("inf"):
                    return lower_edge
                return lower_edge + (edge - lower_edge) * (wanted - lower_count) / (count - lower_count)
            lower_edge, lower_count = edge, count
        return lower_edge


def read_metrics(url: str, timeout_s: float = _READ_TIMEOUT_S) -> Reading:
    """Read an endpoint of ours; an empty reading where it does not answer in time."""
    with contextlib.suppress(httpx.HTTPError, ValueError):
        families = text_string_to_metric_families(httpx.get(f"{url}/metrics", timeout=timeout_s).text)
        return Reading(tuple((s.name, s.labels, float(s.value)) for family in families for s in family.samples))
    return Reading()
