"""Notices are plain words without secrets, and senders hand them over once, signed, or say that they could not."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
from dataclasses import replace

import httpx
import pytest

from casework.adapters.log_sender import LogSender
from casework.adapters.webhook_sender import SIGNATURE_HEADER, WebhookSender
from casework.cards import CardRecord
from casework.errors import CaseworkError, ConfigurationError, SendError
from casework.notices import Message, Messages, Notice, decode_notice, format_money, mask_card_token
from casework.plans import plan_alert
from casework.store import Snapshot
from tests.casework.examples import NOW_MS, alert, playbook, poster_to, shipped

NOTICE = Notice(
    notification_id="notice-1",
    card_token="card-token-4321",
    channel="sms",
    locale="en",
    template="card_frozen",
    parameters={"event_time_ms": NOW_MS, "amount_minor": 12_900, "currency": "EUR"},
    time_ms=NOW_MS,
)
MESSAGE = Message("Title", "Text")
JARGON = ("score", "anomaly", "model", "fraud", "alert", "transaction", "suspicious", "token", "risk")


def catalogue() -> Messages:
    return Messages({"en": shipped("messages/en.toml")})


def test_a_notice_says_which_payment_as_far_as_it_is_known() -> None:
    """With amount and moment, with the moment alone, or just that there was one."""
    full = catalogue().render(NOTICE)
    assert full.title == "We paused your card"
    assert "a payment of EUR 129.00 on 2025-10-09 08:53 UTC" in full.text
    moment_only = replace(NOTICE, parameters={"event_time_ms": NOW_MS})
    assert "a payment on 2025-10-09 08:53 UTC" in catalogue().render(moment_only).text
    unknown = replace(NOTICE, parameters={})
    assert "We saw a payment that" in catalogue().render(unknown).text


def test_shipped_messages_are_plain() -> None:
    """No jargon, no score; short enough for two text messages; every sentence has at most 20 words."""
    for template in shipped("messages/en.toml")["templates"]:
        message = catalogue().render(replace(NOTICE, template=template))
        words = f"{message.title}. {message.text}".lower()
        assert not [jargon for jargon in JARGON if jargon in words]
        assert len(message.text) <= 306
        assert all(len(sentence.split()) <= 20 for sentence in message.text.replace("?", ".").split(". "))


def test_a_notice_for_kafka_holds_no_score_and_comes_back() -> None:
    """What a notice's record holds is what its sender needs, nothing of why the alert was raised."""
    step, _ = plan_alert(Snapshot(CardRecord("card-1")), alert("a"), playbook(), NOW_MS)
    (record,) = [message.value for message in step.messages if message.topic == "fraud.notifications.v1"]
    notice = decode_notice(record)
    assert notice.parameters == {"event_time_ms": NOW_MS - 1_000, "amount_minor": 12_900, "currency": "EUR"}
    assert set(json.loads(record)) == {
        "notification_id", "card_token", "channel", "locale", "template", "parameters", "time_ms", "case_id",
    }  # fmt: skip
    assert catalogue().render(notice).text
    with pytest.raises(CaseworkError):
        decode_notice(b"{}")


@pytest.mark.parametrize(
    ("amount_minor", "currency", "text"),
    [
        (5, "EUR", "EUR 0.05"),
        (123_456, "USD", "USD 1,234.56"),
        (1_500, "JPY", "JPY 1,500"),
        (1_005, "KWD", "KWD 1.005"),
    ],
)
def test_money_has_its_currencys_decimals(amount_minor: int, currency: str, text: str) -> None:
    """Minor units are not always hundredths."""
    assert format_money(amount_minor, currency) == text


def test_a_wrong_catalogue_is_named() -> None:
    """Unknown words, missing phrases, templates and locales are found before anything starts."""
    content = shipped("messages/en.toml")
    content["templates"]["card_frozen"]["text"] = "Your score is $score"
    with pytest.raises(ConfigurationError, match=r"templates\.card_frozen\.text"):
        Messages({"en": content})
    with pytest.raises(ConfigurationError, match="phrases"):
        Messages({"en": {"phrases": {}, "templates": {}}})
    with pytest.raises(ConfigurationError, match="templates"):
        Messages({"en": {"phrases": {}}})
    with pytest.raises(ConfigurationError, match="goodbye"):
        catalogue().require("en", ["goodbye"])
    with pytest.raises(ConfigurationError, match="xx"):
        catalogue().require("xx", [])


def test_the_log_shows_no_card_token(caplog: pytest.LogCaptureFixture) -> None:
    """A masked token keeps its last four characters, a short one none."""
    with caplog.at_level(logging.INFO):
        asyncio.run(LogSender().send(NOTICE, MESSAGE, NOW_MS + 5))
    assert "…4321" in caplog.text
    assert NOTICE.card_token not in caplog.text
    assert mask_card_token("12345678") == "…"


class Receiver:
    """Answers with the given statuses in turn; None breaks the connection."""

    def __init__(self, *statuses: int | None) -> None:
        self.statuses = list(statuses)
        self.requests: list[httpx.Request] = []
        self.pauses: list[float] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        status = self.statuses.pop(0)
        if status is None:
            message = "refused"
            raise httpx.ConnectError(message)
        return httpx.Response(status)

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def send(self) -> None:
        poster = poster_to("https://bank.example/notices", self.answer)
        await WebhookSender(poster, b"secret", self.pause).send(NOTICE, MESSAGE, NOW_MS)
        await poster.close()


def test_a_webhook_is_signed() -> None:
    """The receiver can tell who sent it, when, and whether it saw it before."""
    receiver = Receiver(204)
    asyncio.run(receiver.send())
    (request,) = receiver.requests
    seconds, code = (part.split("=")[1] for part in request.headers[SIGNATURE_HEADER].split(","))
    signed = f"{seconds}.".encode() + request.content
    assert hmac.compare_digest(code, hmac.new(b"secret", signed, hashlib.sha256).hexdigest())
    assert seconds == str(NOW_MS // 1000)
    assert request.headers["Idempotency-Key"] == "notice-1"
    assert json.loads(request.content)["text"] == "Text"


def test_a_webhook_is_retried_where_that_may_help() -> None:
    """Absent, failing and overloaded receivers are asked again, with growing pauses."""
    receiver = Receiver(None, 503, 429, 200)
    asyncio.run(receiver.send())
    assert receiver.pauses == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("statuses", [(400,), (None, None, None, None), (500, 500, 500, 500)])
def test_a_webhook_that_fails_says_so(statuses: tuple[int | None, ...]) -> None:
    """After a refusal at once, otherwise after four attempts."""
    receiver = Receiver(*statuses)
    with pytest.raises(SendError, match="notice-1"):
        asyncio.run(receiver.send())
    assert receiver.statuses == []
