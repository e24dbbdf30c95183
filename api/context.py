"""What the routes work with: the ports and settings given to `create_app`, found on the request's application."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

from prometheus_client import CollectorRegistry
from starlette.requests import HTTPConnection, Request

from api.console.feed import QueueFeed
from api.console.language import LANGUAGE_COOKIE, NO_LANGUAGE, Language
from api.console.sessions import Sessions
from api.health import Health
from api.keys import ApiKeys
from api.oidc.sign_ins import SignIns
from api.ports import DeskPort, NoticesPort, ScoringPort, WebhooksPort
from casework.history import History
from casework.links import Links

MAX_BODY_BYTES = 16 * 1024
# A thousand transactions with every field of the contract filled.
MAX_BULK_BYTES = 2 * 1024 * 1024
SESSION_LIFETIME_MS = 8 * 3_600_000


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Settings of the HTTP service, read by the caller.

    Attributes:
        session_secret: 32 or more random bytes that sign console sessions; shared by all processes behind one address.
        session_lifetime_ms: after this a console session ends, whatever happens in it.
        max_body_bytes: the largest request body accepted.
        max_bulk_bytes: the same where many transactions come at once.
        issuer_token_pattern: what numeric card tokens of the issuer look like, where they could be mistaken for card
            numbers.
        metrics_need_key: whether /metrics asks for a key that may read metrics (role sre).
        languages: of the console, by locale.
        locale: the one for whoever has chosen none.
        rates: what a minor unit of each currency is worth in that of the reference currency, for the picture of a
            card's spending alone.
        desk_url: how agents reach the service from outside, where that is known.
        links: signs and reads the links of cardholders; None shows them no page.
    """

    session_secret: bytes
    session_lifetime_ms: int = SESSION_LIFETIME_MS
    max_body_bytes: int = MAX_BODY_BYTES
    max_bulk_bytes: int = MAX_BULK_BYTES
    issuer_token_pattern: re.Pattern[str] | None = None
    metrics_need_key: bool = False
    languages: Mapping[str, Language] = field(default_factory=dict)
    locale: str = "en"
    rates: Mapping[str, float] = field(default_factory=dict)
    desk_url: str = ""
    links: Links | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """Everything a route may use.

    Attributes:
        desk: cases and cards.
        keys: who may come in.
        health: whether the service can work.
        metrics: the registry behind /metrics.
        now_ms: the clock, UTC epoch milliseconds.
        settings: see `ApiSettings`.
        sessions: opens and resumes console sessions.
        count_sign_in: told of each outcome of signing in, by one word.
        feed: tells the console's pages that the queue has changed.
        history: closed cases, search and statistics; None where the service has no such memory.
        notices: what became of notices; None where the service has no such memory.
        webhooks: the endpoints that are told of cases and cards; None where the service knows of none.
        sign_ins: those at the identity provider; None where people sign in with API keys.
        scoring: decides payments for callers that wait; None where the service has no Kafka.
    """

    desk: DeskPort
    keys: ApiKeys
    health: Health
    metrics: CollectorRegistry
    now_ms: Callable[[], int]
    settings: ApiSettings
    sessions: Sessions
    count_sign_in: Callable[[str], None]
    feed: QueueFeed
    sign_ins: SignIns | None = None
    scoring: ScoringPort | None = None
    history: History | None = None
    notices: NoticesPort | None = None
    webhooks: WebhooksPort | None = None


def context_of(request: HTTPConnection) -> Context:
    """The application's context."""
    return cast("Context", request.app.state.context)


def is_behind_tls(request: Request) -> bool:
    """Whether the browser reached us by TLS: cookies are for that alone then."""
    return request.url.scheme == "https" or context_of(request).settings.desk_url.startswith("https:")


def language_of(request: HTTPConnection) -> Language:
    """The language that this browser has chosen, or the configured one."""
    settings = context_of(request).settings
    chosen = settings.languages.get(request.cookies.get(LANGUAGE_COOKIE, ""))
    return chosen or settings.languages.get(settings.locale, NO_LANGUAGE)
