"""/livez, /readyz, /metrics and what every answer carries."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.console.sessions import SessionSecretError
from api.roles import Role
from casework.errors import StoreUnavailableError
from tests.api.support import CARD_NUMBER, Client, World, world


async def fine() -> None:
    """A dependency that answers."""


async def broken() -> None:
    """One that says why it does not, in words not meant for clients."""
    message = f"redis://user:password@host {CARD_NUMBER}"
    raise StoreUnavailableError(message)


async def silent() -> None:
    """One that never answers."""
    await asyncio.Event().wait()


def test_live_asks_nobody() -> None:
    """Liveness does not depend on anything else."""
    response = world(checks={"redis": broken}).client.get("/livez")
    assert (response.status_code, response.json()) == (200, {"status": "live"})


def test_startup_is_over_once_it_answers() -> None:
    """The service listens only then; what it depends on is for readiness to say."""
    response = world(checks={"redis": broken}).client.get("/startupz")
    assert (response.status_code, response.json()) == (200, {"status": "live"})


def test_ready_names_what_is_missing() -> None:
    """A 503 problem names each missing dependency and nothing of its error."""
    ready = world(checks={"redis": fine, "kafka": fine}).client.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "dependencies": ["redis", "kafka"]})
    response = world(checks={"redis": broken, "kafka": fine}).client.get("/readyz")
    assert (response.status_code, response.headers["content-type"]) == (503, "application/problem+json")
    assert response.json()["missing"] == ["redis"]
    assert "password" not in response.text


def test_a_silent_dependency_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readiness answers in time whatever the dependency does."""
    made = world(checks={"redis": silent})
    monkeypatch.setattr(made.client.app.state.context.health, "_timeout_seconds", 0.05)
    assert made.client.get("/readyz").json()["missing"] == ["redis"]


def test_metrics_show_the_given_registry(world: World) -> None:
    """Both text formats, with the content type that belongs to them; routes as templates, no token in a label."""
    world.client.get("/v1/cards/tok_1", role=Role.AGENT)
    plain = world.client.get("/metrics")
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    samples = [sample for family in text_string_to_metric_families(plain.text) for sample in family.samples]
    (counted,) = [sample for sample in samples if sample.name == "cardwatch_http_requests_total"]
    assert counted.labels == {"method": "GET", "route": "/v1/cards/{card_token:card_token}", "status": "200"}
    assert "tok_1" not in plain.text
    open_metrics = world.client.get("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0,*/*"})
    assert open_metrics.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert open_metrics.text.endswith("# EOF\n")


def test_labels_are_bounded(world: World) -> None:
    """A client cannot make series: unknown paths and methods share one."""
    for number in range(20):
        world.client.request(f"M{number}", f"/path/{number}", role=Role.AGENT)
    text = world.client.get("/metrics").text
    assert text.count("cardwatch_http_requests_total{") == 1


def test_headers_of_every_answer(world: World) -> None:
    """No scripts, no frames, no caching; strict transport where there is transport security."""
    for path in ("/livez", "/console/sign-in", "/nothing"):
        headers = world.client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert "strict-transport-security" not in headers
    secure = Client(world.client.app, scheme="https")
    assert "max-age" in secure.get("/livez").headers["strict-transport-security"]


def test_short_session_secret_stops_the_start() -> None:
    """A secret that can be guessed is not taken."""
    with pytest.raises(SessionSecretError):
        world(session_secret=b"short")
