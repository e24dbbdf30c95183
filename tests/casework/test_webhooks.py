"""Webhooks: signed as the specification says, with nothing in them that is nobody's business."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casework.cases import CaseEventType
from casework.errors import WebhookSecretError
from casework.outbox import CARDS_STATE_TOPIC, CASES_TOPIC
from casework.records import case_event_draft
from casework.webhooks import (
    CASE_KINDS,
    KINDS,
    Answer,
    WebhookEvent,
    answer_of,
    headers_of,
    kinds_of,
    pause_s,
    secret_of,
    webhook_of,
)
from tests.contracts.test_history import NOTES, story

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
STORY = story(count=1)
EVENT = WebhookEvent("msg_p5jXN8AQM9LWM0D4loKWxJek", "case.opened", "card-1", 0, b'{"test": 2432232314}')
CARD_STATE = {
    "card_token": "card-1", "state": "frozen", "sequence": 3, "reason": "she said it was not her", "actor": "ann",
    "command_id": "command-1", "command_time_ms": 1_760_000_000_123, "case_id": "case-1",
}  # fmt: skip


def test_the_signature_is_that_of_the_specification() -> None:
    """The example that its libraries are tested with."""
    headers = headers_of(EVENT, [secret_of(SECRET)], 1_614_265_330_999)
    assert headers["webhook-id"] == EVENT.webhook_id
    assert headers["webhook-timestamp"] == "1614265330"
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_while_secrets_change_both_sign() -> None:
    """A receiver that knows either of the two can verify."""
    secrets = [b"n" * 32, b"o" * 32]
    signed = f"{EVENT.webhook_id}.5.".encode() + EVENT.body
    codes = headers_of(EVENT, secrets, 5000)["webhook-signature"].split(" ")
    wanted = [base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode() for secret in secrets]
    assert codes == [f"v1,{code}" for code in wanted]


@pytest.mark.parametrize(
    "text",
    ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKY!rTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ="],
)
def test_a_secret_that_cannot_sign_is_refused_and_not_repeated(text: str) -> None:
    """Without its prefix, not base64, or too short."""
    with pytest.raises(WebhookSecretError) as caught:
        secret_of(text)
    assert not text.removeprefix("whsec_") or text.removeprefix("whsec_") not in str(caught.value)


def test_kinds_are_named_one_by_one_or_as_a_group() -> None:
    """A slip of the pen is told rather than never heard of."""
    assert kinds_of(["case.*"]) == frozenset(CASE_KINDS)
    assert kinds_of(["card.*", "case.closed"]) == {
        "card.active",
        "card.frozen",
        "card.blocked",
        "card.reissued",
        "case.closed",
    }
    for pattern in ("case.close", "*", "case*", "webhook.test", ""):
        with pytest.raises(ValueError, match="no kind"):
            kinds_of([pattern])


def test_every_event_of_a_case_is_a_kind() -> None:
    """What happens to a case can be subscribed to."""
    assert {f"case.{event.value}" for event in CaseEventType} <= set(KINDS)


def test_a_case_is_told_without_words_and_evidence() -> None:
    """Whoever handles it: no note, no payments, no score, nothing of verification."""
    told = [
        webhook_of(CASES_TOPIC, f"event-{place}", msgspec.json.encode(body))
        for place, event in enumerate(story())
        if (body := {name: value for name, value in case_event_draft(event).body.items() if value is not None})
    ]
    assert {event.kind for event in told} >= {"case.opened", "case.decided", "case.closed", "case.verified"}
    whole = b"".join(event.body for event in told).decode()
    for word in (*NOTES.values(), "note", "evidence", "payments", "score", "verification", "nonce", "commands"):
        assert word not in whole
    opened = json.loads(told[0].body)
    assert opened["type"] == told[0].kind == "case.opened"
    assert opened["timestamp"].endswith("Z")
    assert opened["data"]["card_token"] == told[0].card_token == "card-0"
    assert opened["data"]["alert"]["transaction_id"]
    assert json.loads(told[-1].body)["data"]["state"]


def test_a_card_is_told_without_the_words_of_its_reason() -> None:
    """State, who, when and why by ids."""
    event = webhook_of(CARDS_STATE_TOPIC, "event-1", msgspec.json.encode(CARD_STATE))
    assert (event.kind, event.time_ms, event.card_token) == ("card.frozen", 1_760_000_000_123, "card-1")
    wanted = {name: value for name, value in CARD_STATE.items() if name != "reason"}
    assert json.loads(event.body) == {"type": "card.frozen", "timestamp": "2025-10-09T08:53:20.123Z", "data": wanted}


@pytest.mark.parametrize("value", [b"", b"no event", b"{}", b'{"type": "opened"}', b"\xff"])
@pytest.mark.parametrize("topic", [CASES_TOPIC, CARDS_STATE_TOPIC])
def test_what_is_no_event_is_told_apart(topic: str, value: bytes) -> None:
    """Whatever stands in the topic, one kind of error says so."""
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        webhook_of(topic, "event-1", value)


@pytest.mark.parametrize("event_id", ["", "a.b", "a b", "a\r\nb", "\xe9", "x" * 129])
def test_an_id_that_could_be_misread_is_none_of_ours(event_id: str) -> None:
    """It goes into a header, and stands before a dot in what is signed."""
    with pytest.raises(msgspec.ValidationError):
        webhook_of(CARDS_STATE_TOPIC, event_id, msgspec.json.encode(CARD_STATE))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.sampled_from([CARDS_STATE_TOPIC, CASES_TOPIC]),
    st.dictionaries(
        st.sampled_from([*CARD_STATE, "type", "case_id", "time_ms", "facts", "alert", "card_change"]), _JSON, max_size=3
    ),
)
def test_no_record_breaks_our_own_code(topic: str, changes: dict[str, Any]) -> None:
    """A record of ours with some fields replaced by anything is told, or is none of ours."""
    first = case_event_draft(STORY[0]).body
    body = CARD_STATE if topic == CARDS_STATE_TOPIC else {name: it for name, it in first.items() if it is not None}
    value = json.dumps(json.loads(msgspec.json.encode(body)) | changes).encode()
    try:
        told = webhook_of(topic, "event-1", value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    assert json.loads(told.body)["type"] == told.kind


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, Answer.DELIVERED), (202, Answer.DELIVERED), (204, Answer.DELIVERED), (301, Answer.REFUSED),
        (400, Answer.REFUSED), (401, Answer.REFUSED), (404, Answer.REFUSED), (408, Answer.UNAVAILABLE),
        (410, Answer.GONE), (425, Answer.UNAVAILABLE), (429, Answer.UNAVAILABLE), (500, Answer.UNAVAILABLE),
        (503, Answer.UNAVAILABLE), (102, Answer.REFUSED),
    ],
)  # fmt: skip
def test_what_an_answer_means(status: int, answer: Answer) -> None:
    """By the specification: 2xx is success, 410 ends it, the rest is tried again, what may pass for longer."""
    assert answer_of(status) is answer


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_pauses_grow_to_a_bound_and_spread(failures: int, chance: float) -> None:
    """Never shorter than half of the first, never above five minutes; later ones are no shorter."""
    pause = pause_s(failures, chance)
    assert 2.5 <= pause <= 300.0
    assert pause <= pause_s(failures + 1, chance)
    assert pause_s(failures, 0.0) <= pause <= 2 * pause_s(failures, 0.0)


def verify_of_the_page() -> Callable[[dict[str, str], bytes, str], None]:
    """The function of docs/webhooks.md, as an integrator would copy it."""
    page = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - our own page, which this tests
    verify: Callable[[dict[str, str], bytes, str], None] = names["verify"]
    return verify


def test_the_page_verifies_what_is_sent() -> None:
    """With the new secret or the old one; it refuses another's, what was changed, and what is old."""
    verify, now_ms = verify_of_the_page(), time.time_ns() // 1_000_000
    other = "whsec_" + base64.b64encode(b"o" * 32).decode()
    headers = headers_of(EVENT, [secret_of(other), secret_of(SECRET)], now_ms)
    verify(headers, EVENT.body, SECRET)
    verify(headers, EVENT.body, other)
    stranger = "whsec_" + base64.b64encode(b"x" * 32).decode()
    old = headers_of(EVENT, [secret_of(SECRET)], now_ms - 600_000)
    for changed, body, secret in (
        (headers, EVENT.body, stranger),
        (headers, EVENT.body + b" ", SECRET),
        (headers | {"webhook-id": "event-2"}, EVENT.body, SECRET),
        (old, EVENT.body, SECRET),
    ):
        with pytest.raises(ValueError, match=r"too old|not signed"):
            verify(changed, body, secret)


def test_the_page_shows_what_is_told() -> None:
    """Its example is a body as it is posted, to the byte."""
    page = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text("utf-8")
    (shown,) = re.findall(r"```json\n(.*?)\n```", page, re.DOTALL)
    told = webhook_of(
        CARDS_STATE_TOPIC, "event-1", msgspec.json.encode(json.loads(shown)["data"] | {"reason": "words"})
    )
    assert told.body == shown.encode()
