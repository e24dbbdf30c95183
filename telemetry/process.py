"""What every process shows of itself, whatever its kind: version, certificates, and how much it writes to its log."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from prometheus_client import CollectorRegistry

from telemetry.certificates import first_expiry_s
from telemetry.instruments import Instruments
from telemetry.metric import Process

_LEVELS = ("debug", "info", "warning", "error", "critical")


class ProcessMetrics:
    """The metrics that all kinds of processes have; made once a process."""

    def __init__(self, registry: CollectorRegistry, process: Process, certificates: Mapping[str, Path]) -> None:
        """Register and show them, and count log lines from now on.

        Args:
            registry: of the process.
            process: its kind.
            certificates: files that hold certificates in PEM, by the setting that names them.
        """
        made = Instruments(registry, process)
        made.info("cardwatch_build_info").info({"version": _version(), "process": process})
        self._lines = made.counters("cardwatch_log_lines_total")
        for level in _LEVELS:
            self._lines.labels(level)
        expiry = made.gauges("cardwatch_certificate_expiry_timestamp_seconds")
        for setting, path in certificates.items():
            with contextlib.suppress(OSError, UnicodeDecodeError):
                ends_s = first_expiry_s(path.read_text("utf-8"))
                if ends_s is not None:
                    expiry.labels(setting).set(ends_s)
        logging.getLogger().addHandler(_Counting(self))

    def count_line(self, level: str) -> None:
        """Count a log line."""
        self._lines.labels(level).inc()


class _Counting(logging.Handler):
    """Counts what is logged, before anything is left out."""

    def __init__(self, metrics: ProcessMetrics) -> None:
        super().__init__()
        self._metrics = metrics

    def emit(self, record: logging.LogRecord) -> None:
        self._metrics.count_line(record.levelname.lower())


def _version() -> str:
    try:
        return version("cardwatch")
    except PackageNotFoundError:
        return "unknown"
