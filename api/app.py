"""`create_app`: the HTTP service out of what it is given."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException

from api.answers import answer_error
from api.console.desk_routes import router as desk_console_router
from api.console.feed import QueueFeed
from api.console.history import router as console_history_router
from api.console.routes import router as console_router
from api.console.sessions import Sessions
from api.console.shift import router as console_shift_router
from api.console.sign_in import router as sign_in_router
from api.context import ApiSettings, Context
from api.errors import ApiError
from api.health import Health
from api.keys import ApiKeys
from api.middleware import HttpMetrics, RequestGuard
from api.oidc.provider import Provider
from api.oidc.sign_ins import SignIns
from api.ports import DeskPort, NoticesPort, ScoringPort, SessionMemory, WebhooksPort
from api.problems import ProblemDocument
from api.roles import Permission
from api.routes.acting import command_schemas
from api.routes.acting import router as acting_router
from api.routes.breakers import router as breakers_router
from api.routes.cards import router as cards_router
from api.routes.cases import router as cases_router
from api.routes.contacts import router as contacts_router
from api.routes.endpoints import router as endpoints_router
from api.routes.history import router as history_router
from api.routes.lists import router as lists_router
from api.routes.notices import router as notices_router
from api.routes.operations import router as operations_router
from api.routes.transactions import BULK_PATH
from api.routes.transactions import router as transactions_router
from api.routes.webhooks import webhooks
from api.self_service.routes import router as self_service_router
from casework.errors import CaseworkError
from casework.history import History

_DESCRIPTION = """Cards, cases and people's decisions on them; decisions on payments for callers that wait.

Errors are RFC 9457 `application/problem+json` and never repeat what was sent. Writes take `Idempotency-Key`: the same
request again gets the same answer. Changes take `If-Match` with the ETag that was read: 412 tells what happened since.
Lists are paged by cursor. Money is in minor units, times are UTC epoch milliseconds."""

# Every route there is; `tests/api/test_access.py` walks over them.
ROUTERS = (
    cards_router, cases_router, acting_router, breakers_router, lists_router, notices_router, contacts_router,
    endpoints_router, history_router, transactions_router, operations_router, sign_in_router, console_router,
    desk_console_router, console_history_router, console_shift_router, self_service_router,
)  # fmt: skip


def create_app(
    desk: DeskPort,
    auth: ApiKeys,
    health: Health,
    metrics_registry: CollectorRegistry,
    clock: Callable[[], int],
    settings: ApiSettings,
    memory: SessionMemory,
    scoring: ScoringPort | None = None,
    history: History | None = None,
    notices: NoticesPort | None = None,
    provider: Provider | None = None,
    webhook_book: WebhooksPort | None = None,
) -> FastAPI:
    """Build the application.

    Run it without the server's own access log: that would write paths and queries down. Ours is the logger
    `cardwatch.api.request`.

    Args:
        desk: cases and cards, normally `casework.desk.Desk`.
        auth: the configured API keys.
        health: what /readyz asks.
        metrics_registry: what /metrics shows; the service adds its own to it.
        clock: UTC epoch milliseconds.
        settings: see `ApiSettings`.
        memory: keeps console sessions, for all processes behind one address.
        scoring: decides payments for callers that wait; None answers them that nobody does.
        history: closed cases, search and statistics; None answers that they cannot be looked up.
        notices: what became of notices; None answers that it cannot be looked up.
        provider: where agents sign in; None lets them sign in with API keys.
        webhook_book: the endpoints that are told of cases and cards; None knows of none.

    Raises:
        SessionSecretError: the session secret is too short.
    """
    app = _routes()
    metrics = HttpMetrics(metrics_registry)
    roles = None if provider is None else provider.settings.roles
    sessions = Sessions(
        settings.session_secret, settings.session_lifetime_ms, auth, memory, lambda: secrets.token_urlsafe(32), roles
    )
    sign_ins = None
    if provider is not None:
        sign_ins = SignIns(
            provider, sessions, memory, settings.session_secret, auth.names,
            lambda person: desk.authority.require(person, Permission.CONSOLE), metrics.count_sign_in,
        )  # fmt: skip
    app.state.context = Context(
        desk=desk,
        keys=auth,
        health=health,
        metrics=metrics_registry,
        now_ms=clock,
        settings=settings,
        sessions=sessions,
        count_sign_in=metrics.count_sign_in,
        feed=QueueFeed(desk),
        sign_ins=sign_ins,
        scoring=scoring,
        history=history,
        notices=notices,
        webhooks=webhook_book,
    )
    limits = {BULK_PATH: settings.max_bulk_bytes}
    app.add_middleware(RequestGuard, metrics, settings.max_body_bytes, limits)
    app.openapi = _with_problem_schema(app.openapi)  # type: ignore[method-assign]
    return app


def _routes() -> FastAPI:
    """All routes and how errors are answered, without what they work with."""
    app = FastAPI(
        title="cardwatch",
        version="1",
        description=_DESCRIPTION,
        docs_url=None,
        generate_unique_id_function=lambda route: route.name,
        redoc_url=None,
        webhooks=webhooks,
        # A redirect would repeat the path in its Location header.
        redirect_slashes=False,
    )
    for router in ROUTERS:
        app.include_router(router)
    for kind in (RequestValidationError, HTTPException, ApiError, CaseworkError):
        app.add_exception_handler(kind, _answer_error)
    return app


async def _answer_error(request: Request, error: Exception) -> Response:
    return answer_error(error, request.scope)


def _with_problem_schema(generate: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """Add the schema of problems, which no route returns as its model."""

    def openapi() -> dict[str, Any]:
        document = generate()
        schema = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas = document["components"]["schemas"]
        schemas.update(schema.pop("$defs", {}))
        schemas.update(command_schemas())
        schemas["ProblemDocument"] = schema
        return document

    return openapi
