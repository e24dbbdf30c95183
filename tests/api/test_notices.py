"""What became of notices, over HTTP and at the desk."""

from __future__ import annotations

import asyncio

from api.console.rendering import CONSOLE_PATH
from api.roles import Role
from casework.adapters.memory_notices import MemoryNotices
from casework.deliveries import Delivery, DeliveryState
from tests.api.support import NOW_MS, SECRETS, World, world


def told(case_id: str) -> Delivery:
    return Delivery(
        "notice-1", "card_frozen", "sms", "fil", "webhook", DeliveryState.FAILED, NOW_MS, NOW_MS + 9, case_id,
        attempts=2, detail="HTTP 400",
    )  # fmt: skip


def test_the_desk_sees_what_became_of_notices() -> None:
    """With why it failed; agents alone may see it."""
    memory = MemoryNotices()
    world_ = world(notices=memory)
    case_id = world_.open_case()
    asyncio.run(memory.remember(told(case_id)))
    answer = world_.client.get(f"/v1/cases/{case_id}/notices", role=Role.AGENT)
    assert answer.status_code == 200
    (found,) = answer.json()["notices"]
    assert (found["state"], found["detail"], found["attempts"]) == ("failed", "HTTP 400", 2)
    assert world_.client.get(f"/v1/cases/{case_id}/notices", role=Role.PAYMENT_SYSTEM).status_code == 403
    assert world_.client.get("/v1/cases/case-000-none/notices", role=Role.AGENT).status_code == 404
    world_.client.post(f"{CONSOLE_PATH}/sign-in", data={"api_key": SECRETS[Role.AGENT]})
    page = world_.client.get(f"{CONSOLE_PATH}/cases/{case_id}").text
    assert "What the cardholder was told" in page
    assert "HTTP 400" in page


def test_a_service_without_that_memory_says_so(world: World) -> None:
    """A problem of its own."""
    case_id = world.open_case()
    answer = world.client.get(f"/v1/cases/{case_id}/notices", role=Role.AGENT)
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:cardwatch:problem:notices-unavailable")


def test_how_a_cardholder_wants_to_be_reached() -> None:
    """Agents read and replace it; what cannot be used, or holds a card number, is refused and not repeated."""
    world_ = world(notices=MemoryNotices())
    path = "/v1/contacts/tok_3fa85f6457174562"
    body = {
        "locale": "fil",
        "channels": ["sms"],
        "time_zone": "Asia/Manila",
        "quiet_from": "22:00",
        "quiet_until": "07:00",
    }
    assert world_.client.request("PUT", path, role=Role.AGENT, json=body).status_code == 200
    found = world_.client.get(path, role=Role.AGENT).json()
    assert found == body | {"email": None}
    assert world_.client.request("PUT", path, role=Role.PAYMENT_SYSTEM, json=body).status_code == 403
    for wrong in (
        {"time_zone": "Mars"},
        {"quiet_from": "22:00"},
        {"locale": "xx"},
        {"email": "4111111111111111@a.example"},
    ):
        answer = world_.client.request("PUT", path, role=Role.AGENT, json=wrong)
        assert answer.status_code == 422
        assert "4111" not in answer.text
    assert world_.client.get(path, role=Role.AGENT).json() == found
