"""The application on casework's desk in memory, and a client that talks ASGI to it without a socket."""

from __future__ import annotations

import asyncio
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from api.app import create_app
from api.console.desk_words import DeskWords
from api.console.language import Language, flat_texts
from api.console.memory_sessions import MemorySessions
from api.console.rendering import LANGUAGE_NAMES
from api.console.words import ReasonText, reason_texts
from api.context import ApiSettings
from api.errors import ScoringUnavailableError
from api.health import Check, Health
from api.keys import KEY_ROLES, ApiKey, ApiKeys, hash_key
from api.oidc.provider import Provider
from api.ports import DeskPort, NoticesPort, Refusal, ScoringPort
from api.roles import Role
from casework.adapters.memory_replays import MemoryReplays
from casework.adapters.memory_store import MemoryStore
from casework.adapters.memory_webhooks import MemoryWebhooks
from casework.adapters.sql_history.store import SqlHistory
from casework.alerts import Alert, parse_alert
from casework.authority import Authority
from casework.desk import Desk
from casework.errors import InvalidCursorError
from casework.history import History, HistoryFilters, HistoryPage, Statistics, Told
from casework.outbox import CASES_TOPIC
from casework.playbook import Playbook
from casework.records import case_event_of
from casework.webhook_book import Configured, WebhookBook

CONFIGS = Path(__file__).parents[2] / "configs"
CODE_KEY = b"k" * 32
NOW_MS = 1_760_000_000_000
SECRETS: dict[Role, str] = {role: f"cw-test-{role.value}-0123456789abcdef" for role in KEY_ROLES}
ENDPOINTS = (
    Configured("bank", "hooks.bank.example", ("card.*", "case.closed")),
    Configured("ledger", "ledger.example:8443", ("case.*",), is_active=False),
)
# Well-known test numbers of Visa and Mastercard; both pass the Luhn check.
CARD_NUMBER = "4111111111111111"
OTHER_CARD_NUMBER = "5555555555554444"


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self, now_ms: int = NOW_MS) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


def keys() -> ApiKeys:
    """One key a role, named after it."""
    return ApiKeys(ApiKey(role.value, role, hash_key(secret)) for role, secret in SECRETS.items())


def texts() -> dict[str, ReasonText]:
    """The shipped sentences."""
    return reason_texts(tomllib.loads((CONFIGS / "messages" / "reasons.en.toml").read_text("utf-8")))


def language(locale: str = "en") -> Language:
    """A shipped language."""

    def read(name: str) -> dict[str, Any]:
        return tomllib.loads((CONFIGS / "messages" / f"{name}.{locale}.toml").read_text("utf-8"))

    return Language(
        locale, flat_texts(read("console")), reason_texts(read("reasons")), DeskWords.from_mapping(read("desk"))
    )


def desk() -> Desk:
    """A desk that forgets everything."""
    playbook = Playbook.from_mapping(tomllib.loads((CONFIGS / "playbook.toml").read_text("utf-8")))
    authority = Authority.from_mapping(tomllib.loads((CONFIGS / "roles.toml").read_text("utf-8")))
    return Desk(MemoryStore(shards=4, outbox_limit=10_000), playbook, authority, CODE_KEY)


def alert(number: int = 1, *, card_token: str = "tok_3fa85f6457174562", action: str = "FREEZE", **fields: Any) -> Alert:
    """An alert of the contract."""
    event_time_ms = fields.pop("event_time_ms", NOW_MS - 240_000 + number)
    record = {
        "alert_id": f"al-{number:06d}",
        "transaction_id": f"tx-{number:06d}",
        "card_token": card_token,
        "event_time_ms": event_time_ms,
        "action": action,
        "score": 0.93,
        "anomaly": 0.88,
        "reasons": ["impossible_travel", "amount_above_usual", "new_country"],
        "rules": [],
        "flags": [],
        "expected_loss_minor": 116_000,
        "model_version": "m-000012",
        "policy_version": "policy-3",
        "amount_minor": 124_900,
        "currency": "EUR",
        "merchant_id": "mrc_0917_electronics",
        "country": "BR",
        "evidence": [
            evidence("impossible_travel", 11_240.0, 35.0, 2.9),
            evidence("amount_above_usual", 124_900.0, 8_812.0, 1.7),
            evidence("new_country", 1.0, 0.0, 0.8),
        ],
        "last_payments": [
            *(
                payment(number - back, event_time_ms - back * 26_000_000, amount_minor=2_400 + 370 * back)
                for back in range(5, 0, -1)
            ),
            payment(number, event_time_ms) | THE_PAYMENT,
        ],
    }
    return parse_alert(record | fields)


THE_PAYMENT = {
    "amount_minor": 124_900,
    "country": "BR",
    "entry_mode": "magstripe",
    "merchant_id": "mrc_0917_electronics",
}


def evidence(code: str, observed: float, usual: float, contribution: float) -> dict[str, Any]:
    """One reason of an alert."""
    return {"code": code, "text_key": code, "observed": observed, "usual": usual, "contribution": contribution}


def payment(number: int, event_time_ms: int, **fields: Any) -> dict[str, Any]:
    """One of a card's last payments."""
    return {
        "transaction_id": f"tx-{number:06d}",
        "event_time_ms": event_time_ms,
        "amount_minor": 2_500,
        "currency": "EUR",
        "kind": "purchase",
        "channel": "pos",
        "entry_mode": "contactless",
        "merchant_id": f"mrc_{abs(number) % 7:04d}",
        "country": "DE",
    } | fields


@dataclass
class Scoring:
    """Allows every payment, but for one currency and card numbers, and keeps what it was asked."""

    available: bool = True
    asked: list[dict[str, Any]] = field(default_factory=list)
    deadline_ms: int = 0
    traceparent: str | None = None

    async def decide(
        self, payments: Sequence[bytes], *, now_ms: int, deadline_ms: int, traceparent: str | None
    ) -> list[Mapping[str, Any] | Refusal]:
        """See `ScoringPort`."""
        assert now_ms
        if not self.available:
            raise ScoringUnavailableError
        self.deadline_ms, self.traceparent = deadline_ms, traceparent
        self.asked += [json.loads(payment) for payment in payments]
        return [self._answer(payment) for payment in self.asked[-len(payments) :]]

    @staticmethod
    def _answer(payment: dict[str, Any]) -> Mapping[str, Any] | Refusal:
        if payment["card_token"] == CARD_NUMBER:
            return Refusal("card_number_in_clear", "card_token", card_number=True)
        if payment["currency"] == "XXX":
            return Refusal("unknown_currency", "currency", card_number=False)
        identity = {name: payment[name] for name in ("transaction_id", "card_token", "event_time_ms")}
        return identity | {
            "action": "ALLOW", "score": 0.01, "anomaly": 0.2, "reasons": [], "rules": [], "expected_loss_minor": 12,
            "flags": [], "model_version": "m-1", "policy_version": "p-1", "rates_version": "r-1",
            "source": {"topic": "payments.transactions.v1", "partition": 0, "offset": 7}, "alert_id": None,
        }  # fmt: skip


class Memory:
    """A memory of closed cases in which nothing ever happened."""

    def find(self, _filters: HistoryFilters, cursor: str | None, _limit: int) -> HistoryPage:
        """See `History`."""
        if cursor is not None:
            raise InvalidCursorError
        return HistoryPage((), None)

    def statistics(self, _from_ms: int, _before_ms: int) -> Statistics:
        """See `History`."""
        return Statistics(0, 0, {}, {}, None, None, 0, 0, 0)


@dataclass
class Client:
    """Talks to an application; every call runs to its end."""

    app: FastAPI
    scheme: str = "http"
    cookies: dict[str, str] = field(default_factory=dict)

    def request(self, method: str, path: str, *, role: Role | None = None, **options: Any) -> httpx.Response:
        """Send one request, with the role's key where one is named; redirects are not followed."""
        headers: dict[str, Any] = dict(options.pop("headers", {}))
        if role is not None:
            headers["Authorization"] = f"Bearer {SECRETS[role]}"

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            base_url = f"{self.scheme}://cardwatch.test"
            async with httpx.AsyncClient(transport=transport, base_url=base_url, cookies=self.cookies) as client:
                return await client.request(method, path, headers=headers, **options)

        response = asyncio.run(send())
        self.cookies |= dict(response.cookies)
        return response

    def get(self, path: str, **options: Any) -> httpx.Response:
        """GET."""
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        """POST."""
        return self.request("POST", path, **options)


@dataclass
class World:
    """An application and what it was built on."""

    client: Client
    desk: Desk
    clock: Clock
    registry: CollectorRegistry
    history: History | None = None
    told: MemoryWebhooks = field(default_factory=MemoryWebhooks)
    replays: MemoryReplays = field(default_factory=MemoryReplays)

    def remember(self) -> None:
        """Let the memory of closed cases take in what the desk has told, as the history role does."""
        events = [
            case_event_of(entry.value)
            for shard in range(self.desk.shards)
            for entry in asyncio.run(self.desk.read_outbox(shard, None, 10_000))
            if entry.topic == CASES_TOPIC
        ]
        assert isinstance(self.history, SqlHistory)
        self.history.apply([Told(0, offset, event) for offset, event in enumerate(events)])

    def respond(self, *alerts: Alert) -> list[str | None]:
        """Let the desk respond to alerts; gives their cases' ids."""
        outcomes = asyncio.run(self.desk.respond(alerts, self.clock.now_ms))
        return [outcome.case_id for outcome in outcomes]

    def verify(self, case_id: str) -> None:
        """Have the cardholder's identity verified in a case."""
        seen = {"actions": [{"do": "verify_seen", "method": "call_back"}]}
        answer = self.client.post(f"/v1/cases/{case_id}/actions", role=Role.SENIOR_AGENT, json=seen)
        assert answer.status_code == 200, answer.text

    def open_dispute(self, card_token: str) -> str:
        """Open a case by hand."""
        opening = {
            "card_token": card_token,
            "kind": "dispute",
            "channel": "phone",
            "details": {
                "transaction_id": "tx-000001",
                "reason": "not_received",
                "amount_minor": 4_900,
                "currency": "EUR",
            },
            "note": "Ordered shoes in March, never came.",
        }
        answer = self.client.post("/v1/cases", role=Role.AGENT, json=opening)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["case"]["case_id"])

    def open_case(self, number: int = 1, **fields: Any) -> str:
        """Freeze a card and open its case."""
        (case_id,) = self.respond(alert(number, **fields))
        assert case_id is not None
        return case_id


def world(
    *,
    checks: Mapping[str, Check] | None = None,
    desk_port: DeskPort | None = None,
    scoring: ScoringPort | None = None,
    history: History | None = None,
    notices: NoticesPort | None = None,
    provider: Provider | None = None,
    clock: Clock | None = None,
    **settings: Any,
) -> World:
    """Build an application."""
    made, clock, registry = desk(), clock or Clock(), CollectorRegistry()
    asyncio.run(made.open())
    languages = {locale: language(locale) for locale in LANGUAGE_NAMES}
    shipped: dict[str, Any] = {"session_secret": b"s" * 32, "languages": languages, "rates": {"EUR": 1.0}}
    chosen = ApiSettings(**(shipped | settings))
    health = Health(checks or {"redis": made.ping})
    memory, told, replays = MemorySessions(clock), MemoryWebhooks(), MemoryReplays()
    book = WebhookBook(ENDPOINTS, told, replays, made._store, made.authority)
    app = create_app(
        desk_port or made, keys(), health, registry, clock, chosen, memory, scoring, history, notices, provider, book
    )
    return World(Client(app), made, clock, registry, history, told, replays)
