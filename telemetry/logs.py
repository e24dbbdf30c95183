"""Log lines: JSON outside a terminal, with the fields of their context; sampled where frequent; nothing secret in them.

All loggers are the standard library's, ours and those of libraries alike; structlog writes what they say. A line that
has been written often lately is left out, and the next of its kind says how many were.
"""

from __future__ import annotations

import logging
import re
import sys
import time
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import AbstractContextManager
from typing import Any, Literal, TextIO

import structlog

Format = Literal["auto", "json", "text"]

# So many lines of one kind are written within a window; more say nothing new.
_MOST_LINES = 20
_WINDOW_S = 10.0
_KINDS_REMEMBERED = 2_000
_LONGEST_TEXT = 16_000
# Packages whose errors name fields and never what stood in them.
_OURS = frozenset({"api", "cardwatch", "casework", "detector", "streams", "telemetry"})
_SHOWN_CHARACTERS = 4
# Libraries whose lines below this level hold what they carry: whole fetches of records, addresses with their queries.
_LIBRARIES = {
    "aiokafka": logging.INFO,
    # It tells of every plugin that it loads.
    "alembic": logging.WARNING,
    "faust": logging.INFO,
    "httpcore": logging.WARNING,
    "httpx": logging.WARNING,
    "mode": logging.INFO,
}
# Names of fields whose values are tokens of cards or secrets.
_TOKENS = frozenset({"card_token", "card", "token", "new_card_token"})
_SECRETS = re.compile(r"password|secret|api_key|authorization|cookie|fingerprint_key", re.IGNORECASE)
_DIGITS = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){11,18}(?![\w-])")
_CREDENTIALS = re.compile(r"(\w+://)[^/\s@]+@")

Event = MutableMapping[str, Any]


def configure(level: str, form: Format = "auto", stream: TextIO | None = None) -> None:
    """Write all logs to a stream from now on, in UTC.

    Args:
        level: DEBUG, INFO, WARNING or ERROR.
        form: json, text, or auto: text on a terminal.
        stream: standard error where none is given.
    """
    target = sys.stderr if stream is None else stream
    is_text = form == "text" or (form == "auto" and target.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=target.isatty())
        if is_text
        else structlog.processors.JSONRenderer(ensure_ascii=False, default=str)
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                exceptions_without_content,
                redacted,
                renderer,
            ],
        )
    )
    handler.addFilter(Sampling())
    root = logging.getLogger()
    for before in list(root.handlers):
        root.removeHandler(before)
    root.addHandler(handler)
    root.setLevel(level)
    for library, least in _LIBRARIES.items():
        logging.getLogger(library).setLevel(max(least, root.level))


def log_context(**fields: str | int) -> AbstractContextManager[None]:
    """Let every line that is written inside carry these fields."""
    return structlog.contextvars.bound_contextvars(**fields)


class Sampling(logging.Filter):
    """Leaves lines out of which the like have been written often within the last seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Count by a clock of seconds."""
        super().__init__()
        self._clock = clock
        self._counts: dict[tuple[str, str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write the line; one that follows others left out says how many."""
        kind, now_s = (record.name, record.levelname, str(record.msg)), self._clock()
        since_s, count = self._counts.get(kind, (now_s, 0))
        if now_s - since_s >= _WINDOW_S:
            if count > _MOST_LINES:
                record.left_out = count - _MOST_LINES
            since_s, count = now_s, 0
        if len(self._counts) >= _KINDS_REMEMBERED and kind not in self._counts:
            # Messages that differ each time cannot be told apart; they are few between two starts of a window.
            self._counts.clear()
        self._counts[kind] = (since_s, count + 1)
        return count < _MOST_LINES


def exceptions_without_content(_logger: object, _method: str, event: Event) -> Event:
    """Write where code failed and by which class of error; what a foreign error says may hold what it worked on."""
    found = event.pop("exc_info", None)
    if isinstance(found, tuple) and isinstance(found[1], BaseException):
        event["exception"] = _story(found[1])
    return event


def _story(error: BaseException) -> str:
    """An error with its causes, the first one first."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    told = "" if before is None else _story(before) + "then\n"
    says = f": {error}" if type(error).__module__.partition(".")[0] in _OURS else ""
    return f"{told}{''.join(traceback.format_tb(error.__traceback__))}{type(error).__name__}{says}\n"


def redacted(_logger: object, _method: str, event: Event) -> Event:
    """Take out of a line what must not be written down: numbers of cards, tokens in full, secrets."""
    return {name: _clean(name, value) for name, value in event.items()}


def _clean(name: str, value: Any) -> Any:
    if _SECRETS.search(name):
        return "[secret]"
    if isinstance(value, Mapping):
        return {str(key): _clean(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(name, inner) for inner in value]
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if not isinstance(value, str):
        return value
    if name in _TOKENS:
        return shortened(value)
    text = value if len(value) <= _LONGEST_TEXT else value[:_LONGEST_TEXT] + "..."
    return _CREDENTIALS.sub(r"\1[secret]@", _DIGITS.sub(_without_card_number, text))


def shortened(token: str) -> str:
    """A token as it may be written down: enough to compare two lines by, too little to use."""
    return f"{token[:_SHOWN_CHARACTERS]}..." if len(token) > _SHOWN_CHARACTERS else "..."


def _without_card_number(found: re.Match[str]) -> str:
    digits = [int(sign) for sign in found.group() if sign.isdigit()]
    doubled = sum(sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return "[card number]" if (sum(digits[-1::-2]) + doubled) % 10 == 0 else found.group()
