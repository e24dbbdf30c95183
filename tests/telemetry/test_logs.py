"""Log lines: JSON with their context, never a flood, and nothing in them that must not be written down."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import ProducerError
from telemetry.logs import Sampling, configure, log_context, redacted, shortened

CARD_NUMBER = "4111111111111111"
TOKEN = "tok_9f8e7d6c5b4a3210"
SECRET = "s3cr3t-of-the-installation"


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """Handlers and level are as before afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_its_context() -> None:
    """Outside a terminal: one object a line, with time, level, logger, and where in the stream it happened."""
    stream = io.StringIO()
    configure("INFO", stream=stream)
    with log_context(topic="payments.transactions.v1", partition=3, offset=42):
        logging.getLogger("streams.scoring").warning("a batch of %d is halved", 7, extra={"trace_id": "ab" * 16})
    logging.getLogger("streams.scoring").debug("not at this level")
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "a batch of 7 is halved",
        "level": "warning",
        "logger": "streams.scoring",
        "topic": "payments.transactions.v1",
        "partition": 3,
        "offset": 42,
        "trace_id": "ab" * 16,
    }


def test_text_where_it_is_asked_for() -> None:
    """For people at a terminal."""
    stream = io.StringIO()
    configure("INFO", "text", stream)
    logging.getLogger("cardwatch").info("ready")
    assert "ready" in stream.getvalue()
    with pytest.raises(ValueError, match="Extra data"):
        lines(stream)


def test_a_canary_is_found_nowhere() -> None:
    """Card numbers, tokens in full and secrets do not pass, whichever way they come: text, field, error, cause."""
    stream = io.StringIO()
    configure("DEBUG", stream=stream)
    log = logging.getLogger("anywhere")
    log.info("card %s", CARD_NUMBER)
    log.info("card %s", "4111 1111 1111 1111")
    log.info("of a card", extra={"card_token": TOKEN, "cards": {"card_token": [TOKEN]}})
    log.info("settings", extra={"sasl_password": SECRET, "session_secret": SECRET})
    log.info("connecting to redis://user:%s@localhost:6379/0", SECRET)
    try:
        try:
            dict[str, str]()[TOKEN]
        except KeyError as cause:
            message = f"{CARD_NUMBER} {SECRET}"
            raise RuntimeError(message) from cause
    except RuntimeError:
        log.exception("our own code failed")
    written = stream.getvalue()
    for canary in (CARD_NUMBER, "4111 1111", TOKEN, SECRET):
        assert canary not in written
    assert "[card number]" in written
    assert "RuntimeError" in written
    assert "KeyError" in written
    assert "test_logs.py" in written


def test_our_own_errors_say_why() -> None:
    """Their messages name fields and never what stood in them, so they are written."""
    stream = io.StringIO()
    configure("INFO", stream=stream)
    error = ProducerError("fraud.decisions.v1: _TIMED_OUT")
    logging.getLogger("streams").error("it ended", exc_info=error)
    assert "ProducerError: fraud.decisions.v1: _TIMED_OUT" in lines(stream)[0]["exception"]


@given(st.lists(st.integers(0, 9), min_size=11, max_size=18), st.sampled_from(["", " ", "-"]), st.text(max_size=5))
def test_whatever_passes_luhn_is_taken_out(digits: list[int], between: str, around: str) -> None:
    """Twelve to nineteen digits, however they are grouped, whatever stands around them but letters and digits."""
    doubled = sum(sum(divmod(2 * digit, 10)) for digit in digits[::-2])
    check = -(doubled + sum(digits[-2::-2])) % 10
    number = between.join(str(digit) for digit in [*digits, check])
    aside = "".join(sign for sign in around if not (sign.isalnum() or sign in "_.-"))
    shown = redacted(None, "", {"event": f"{aside} {number} {aside}"})["event"]
    assert number not in shown


def test_times_and_counts_stay() -> None:
    """A Unix time in milliseconds that fails Luhn, an offset, an id: what people search logs by."""
    event = {"event": "at 1700000000001, offset 123456", "transaction_id": "t-12345678901", "count": 7}
    assert redacted(None, "", dict(event)) == event


def test_a_short_token_is_not_shown_at_all() -> None:
    """Four signs of a token of four would be all of it."""
    assert shortened("abcd") == "..."
    assert shortened("abcdefgh") == "abcd..."


def test_a_flood_is_sampled_and_says_so() -> None:
    """A kind of line that comes thousands of times is written twenty times in ten seconds, and counted."""
    now_s = 100.0
    sampling = Sampling(lambda: now_s)

    def record(level: int = logging.WARNING) -> logging.LogRecord:
        return logging.LogRecord("streams", level, "", 0, "partition %d failed", (1,), None)

    assert sum(sampling.filter(record()) for _ in range(1_000)) == 20
    assert sampling.filter(record(logging.ERROR))
    now_s += 10.0
    after = record()
    assert sampling.filter(after)
    assert vars(after)["left_out"] == 980


def test_kinds_are_forgotten_before_they_fill_memory() -> None:
    """Messages that differ each time do not make the filter grow without bound."""
    sampling = Sampling(lambda: 0.0)
    for number in range(10_000):
        sampling.filter(logging.LogRecord("x", logging.INFO, "", 0, f"message {number}", (), None))
    assert len(sampling._counts) <= 2_000
