"""From a freeze to a cardholder's NO, on an embedded Kafka and Redis: notice, link, page, command, notice."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from api.app import create_app
from api.console.memory_sessions import MemorySessions
from api.context import ApiSettings
from api.health import Health
from casework.adapters.redis_connection import ConnectionPolicy, RedisAddress, RedisConnection, connect
from casework.adapters.redis_notices import RedisNotices
from casework.adapters.redis_outboxes import RedisStoreSettings
from casework.adapters.redis_store import RedisStore
from casework.adapters.webhook_sender import WebhookSender
from casework.contacts import ContactRecord
from casework.courier import Courier, CourierRules, PageLinks
from casework.desk import Desk
from casework.links import Links
from casework.notices import Messages
from streams.clock import epoch_ms
from streams.metrics import StreamMetrics
from streams.notify import NotifyRole
from streams.respond import RespondRole
from streams.topics import ACCESS, ALERTS
from tests.api.support import keys
from tests.casework.examples import CODE_KEY, authority, playbook, poster_to, shipped
from tests.contracts.servers import bundled_server
from tests.streams.kafka_world import World, eventually, mock_world, running

CARD = "card-a"
BANK = "https://cards.bank.example"
POLICY = ConnectionPolicy(timeout_s=20.0, budget_s=60.0)


class Bank:
    """The bank's messaging: shows each notice once by its Idempotency-Key."""

    def __init__(self) -> None:
        self.shown: dict[str, dict[str, Any]] = {}

    def take(self, request: httpx.Request) -> httpx.Response:
        self.shown.setdefault(request.headers["Idempotency-Key"], json.loads(request.content))
        return httpx.Response(204)

    def text(self, template: str) -> str:
        return next((body["text"] for body in self.shown.values() if body["template"] == template), "")


def freeze(world: World) -> None:
    now_ms = int(time.time() * 1000)
    body = {
        "alert_id": "al-1", "transaction_id": "tx-1", "card_token": CARD, "event_time_ms": now_ms, "action": "FREEZE",
        "amount_minor": 124_900, "currency": "PHP",
    }  # fmt: skip
    world.write(ALERTS, CARD, json.dumps(body).encode(), [("ce_time", b"2026-11-22T10:00:00.000Z")])
    world.writer.flush()


async def story(world: World, url: str) -> None:
    """Play it."""
    bank, links = Bank(), Links(CODE_KEY)
    connection = RedisConnection(connect(RedisAddress(url), POLICY), POLICY)
    memory, store = RedisNotices(connection), RedisStore(connection, RedisStoreSettings(shards=4))
    desk = Desk(store, playbook(), authority(), CODE_KEY)
    await desk.open()
    await memory.put_contact(CARD, ContactRecord("fil", ("app",), None, "Asia/Manila"))
    messages = Messages({locale: shipped(f"messages/{locale}.toml") for locale in ("en", "fil", "zh")}, CODE_KEY)
    settings = ApiSettings(session_secret=b"s" * 32, links=links)
    health = Health({"redis": desk.ping})
    app = create_app(
        desk, keys(), health, CollectorRegistry(), epoch_ms, settings, MemorySessions(epoch_ms), notices=memory
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BANK) as browser:
        sender = WebhookSender(poster_to(f"{BANK}/notices", bank.take), b"secret", asyncio.sleep)
        pages = PageLinks(links, f"{BANK}/s/", 3600)
        courier = Courier(messages, sender, memory, memory, CourierRules(), epoch_ms, pages)
        respond = RespondRole(desk, world.settings, StreamMetrics(CollectorRegistry()))
        notify = NotifyRole(courier, desk, memory, world.settings, StreamMetrics(CollectorRegistry()))
        freeze(world)
        async with running(respond), running(notify):
            await eventually(lambda: bool(bank.text("card_frozen")), "the notice of the freeze")
            address = _link_in(bank.text("card_frozen"))
            page = (await browser.get(address)).text
            assert "PHP 1,249.00" in page
            assert "Ikaw ba ito?" in page
            form = {"mine": "no", "transaction_id": "tx-1", "idempotency_key": "once-1"}
            assert (await browser.post(f"{address}/answer", data=form)).status_code == 200
            await eventually(lambda: bool(bank.text("card_blocked")), "the notice of the block")
            await eventually(lambda: len(world.values(ACCESS)) == 2, "who saw what is on its topic")
    assert [(event["access"], event["actor"], event["card_tokens"]) for event in world.values(ACCESS)] == [
        ("read", "cardholder", [CARD]), ("write", "cardholder", [CARD]),
    ]  # fmt: skip
    assert (await desk.card(CARD)).state.wire == "blocked"
    (case_id,) = (await desk.card(CARD)).case_ids
    assert [delivery.state.value for delivery in await memory.of_case(case_id)] == ["sent", "sent"]
    assert {body["locale"] + body["channel"] for body in bank.shown.values()} == {"filapp"}
    await store.close()


def _link_in(text: str) -> str:
    found = re.search(r"https://\S+", text)
    assert found is not None
    return found[0]


@pytest.mark.redis
def test_a_cardholder_says_no(tmp_path: Path) -> None:
    """Told in their language where to answer; the NO blocks the card, and they are told so."""
    with mock_world((tmp_path / "checkpoints").as_uri()) as world, bundled_server(tmp_path) as url:
        asyncio.run(story(world, url))
