"""Alerts, playbooks and messages for tests."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from importlib import resources
from typing import Any

import httpx

from casework.adapters.posting import Poster
from casework.alerts import Alert, Evidence
from casework.authority import Authority, Person, Role
from casework.commands import VerifySeen
from casework.desk import Desk
from casework.playbook import Playbook
from casework.store import Store
from casework.verification import Method
from detector.vocabulary import Action

NOW_MS = 1_760_000_000_000


def shipped(path: str) -> dict[str, Any]:
    """The content of a file in `configs/`."""
    return tomllib.loads(resources.files("configs").joinpath(path).read_text(encoding="utf-8"))


AGENT = Person("agent-1", Role.AGENT)
SENIOR = Person("senior-1", Role.SENIOR_AGENT)
SUPERVISOR = Person("supervisor-1", Role.SUPERVISOR)
CODE_KEY = b"k" * 32
NONCE = "nonce-of-the-request"


def authority() -> Authority:
    """The shipped matrix."""
    return Authority.from_mapping(shipped("roles.toml"))


def desk_on(store: Store, book: Playbook | None = None) -> Desk:
    """A desk by the shipped rules, or by another playbook."""
    return Desk(store, book or playbook(), authority(), CODE_KEY)


async def verify(desk: Desk, case_id: str, now_ms: int, by: Person = AGENT) -> None:
    """Have the cardholder's identity verified by a call back."""
    await desk.act(case_id, (VerifySeen(Method.CALL_BACK),), by, now_ms=now_ms, nonce=NONCE)


def playbook() -> Playbook:
    """The shipped playbook."""
    return Playbook.from_mapping(shipped("playbook.toml"))


def alert(name: str, action: Action = Action.FREEZE, **changes: Any) -> Alert:
    """An alert whose ids follow from `name`, on card `card-1` one second before `NOW_MS` unless changed."""
    fields: dict[str, Any] = {
        "alert_id": f"alert-{name}",
        "transaction_id": f"transaction-{name}",
        "card_token": "card-1",
        "event_time_ms": NOW_MS - 1_000,
        "action": action,
        "score": 0.93,
        "anomaly": 0.7,
        "reasons": ("amount_unusual", "country_new"),
        "rules": (),
        "flags": (),
        "expected_loss_minor": 12_000,
        "model_version": "m-000001",
        "policy_version": "policy-1",
        "evidence": (Evidence("amount_unusual", "amount_over_usual", 129.0, 12.5, 2.25),),
        "last_payments": ({"event_time_ms": NOW_MS - 1_000, "amount_minor": 12_900, "currency": "EUR"},),
        "amount_minor": 12_900,
        "currency": "EUR",
    }
    return Alert(**(fields | changes))


def poster_to(
    url: str, answer: Callable[[httpx.Request], httpx.Response], *, may_be_private: bool = False, timeout_s: float = 5.0
) -> Poster:
    """A poster whose requests are answered here; every host has the same public address."""

    async def resolve(_host: str, _port: int) -> list[str]:
        return ["192.0.31.8"]

    def unread(request: httpx.Request) -> httpx.Response:
        """As from the network: nobody has read the body yet."""
        said = answer(request)
        return httpx.Response(said.status_code, stream=httpx.ByteStream(said.content))

    transport = httpx.MockTransport(unread)
    return Poster(url, timeout_s, may_be_private=may_be_private, transport=transport, resolve=resolve)
