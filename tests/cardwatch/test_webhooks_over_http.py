"""Webhooks told again over HTTP: the API leaves the order in Redis, the notify process carries it out."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import httpx
from prometheus_client import CollectorRegistry

from cardwatch import wiring
from cardwatch.commands.api import application
from cardwatch.roles import WebhookWithLog
from cardwatch.settings import load_settings
from cardwatch.stream_settings import stream_settings
from casework.outbox import AUDIT_TOPIC
from casework.webhook_log import Disabled
from streams.metrics import StreamMetrics
from tests.contracts.servers import bundled_server
from tests.services.webhook_receiver import Receiver, receiving
from tests.streams.kafka_world import mock_world, running
from tests.streams.stand_in import KEY
from tests.streams.test_webhooks import tell

ADMIN = "an operator's key, of a good length"
ALL = "/v1/webhooks"
SECRETS = f"""
[api]
session_secret = "{"ab" * 32}"
[api.keys.olga]
role = "sre"
sha256 = "{hashlib.sha256(ADMIN.encode()).hexdigest()}"
[desk]
code_secret = "{"cd" * 32}"
"""


def test_an_operator_has_an_endpoint_told_again(tmp_path: Path) -> None:
    """Enabled and told by two processes that share nothing but Redis, with the operator's name in the audit."""

    async def play(redis: str, kafka: str, world: Any) -> None:
        async with receiving(Receiver()) as receiver:
            endpoints = (
                f'[redis]\nurl = "{redis}"\n[webhooks.endpoints.bank]\nurl = "{receiver.url}"\nprivate = true\n'
                f'events = ["case.closed"]\nsecret = "whsec_{"A" * 44}"\n'
            )
            of_api, of_notify = tmp_path / "api.toml", tmp_path / "notify.toml"
            of_api.write_text(f"{SECRETS}{endpoints}", "utf-8")
            of_notify.write_text(
                f'[detector]\nfingerprint_key = "{KEY.hex()}"\n[kafka]\nembedded = true\npartitions = 4\n'
                f'bootstrap_servers = "{kafka}"\n{endpoints}',
                "utf-8",
            )
            settings = load_settings(of_notify)
            (endpoint,) = wiring.endpoints(settings)
            store, log = wiring.redis_store(settings), wiring.webhook_log(settings)
            await store.open(create=True)
            await log.disable("bank", Disabled(5, "it answered 410 Gone"))
            ids = tell(world)
            streams = stream_settings(settings, "notify-1")
            app = application(load_settings(of_api))
            client = httpx.AsyncClient(
                transport=httpx.ASGITransport(app),
                base_url="http://api.test",
                headers={"authorization": f"Bearer {ADMIN}"},
            )
            telling = WebhookWithLog(endpoint, settings, streams, StreamMetrics(CollectorRegistry()))
            async with app.router.lifespan_context(app), client, running(telling):
                (shown,) = (await client.get(ALL)).json()["endpoints"]
                assert (shown["state"], shown["disabled"]["since_ms"]) == ("disabled", 5)
                assert receiver.url not in str(shown)
                await client.post(f"{ALL}/bank/enable", json={"reason": "It is back."})
                await until(client, ALL, lambda said: said["endpoints"][0]["state"] == "told")
                # Everything in the topic is too old to be told by itself.
                order = {"of": "span", "since_ms": 0, "reason": "They lost everything."}
                assert (await client.post(f"{ALL}/bank/replay", json=order)).status_code == 202
                over = await until(client, f"{ALL}/bank/replay", lambda said: said["ended_ms"] > 0)
                assert (over["state"], over["told"], over["actor"]) == ("done", 4, "olga")
                told = (await client.get(f"{ALL}/bank/events")).json()["events"]
            assert [event["webhook_id"] for event in told] == receiver.ids()[::-1]
            assert set(receiver.ids()) <= set(ids)
            entries = (await store.first_entries(range(store.shards), 10)).values()
            audited = [entry.value for each in entries for entry in each if entry.topic == AUDIT_TOPIC]
            assert len(audited) == 2
            assert all(b'"actor":"olga"' in value for value in audited)
            await store.close()
            await log.close()

    with bundled_server(tmp_path) as redis, mock_world(f"file://{tmp_path}/checkpoints") as world:
        asyncio.run(play(redis, world.settings.bootstrap_servers, world))


async def until(client: httpx.AsyncClient, path: str, is_so: Any) -> Any:
    """Ask until the answer says so."""
    async with asyncio.timeout(60):
        while not is_so(said := (await client.get(path)).json()):  # noqa: ASYNC110 - it is another process that says so
            await asyncio.sleep(0.1)
    return said
