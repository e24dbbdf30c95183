"""Records of `fraud.alerts.v1` as alerts, with the headers that belong to them."""

from __future__ import annotations

import contextlib

from casework.alerts import Alert, decode_alert
from streams.events import TIME_HEADER, TRACE_HEADER, time_of
from streams.records import RawRecord


def alert_of(record: RawRecord) -> Alert:
    """Decode an alert with the headers that belong to it.

    Raises:
        AlertError: it is not an alert of the contract.
    """
    headers = dict(record.headers)
    decided, trace = headers.get(TIME_HEADER), headers.get(TRACE_HEADER)
    decided_ms: int | None = None
    if decided is not None:
        with contextlib.suppress(ValueError):
            decided_ms = time_of(decided.decode(errors="replace"))
    traceparent = None if trace is None else trace.decode(errors="replace")
    return decode_alert(record.value or b"", decided_ms=decided_ms, traceparent=traceparent)
