"""/livez, /readyz, /startupz and /metrics: for those who run the service."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.security import HTTPAuthorizationCredentials

from api.dependencies import ContextOf, bearer, permitted
from api.problems import BAD_REQUEST, NOT_PERMITTED, NOT_READY, UNAUTHENTICATED, documented, json_response
from api.roles import Permission
from api.schemas import LiveOut, ReadyOut
from telemetry.exposition import exposition

router = APIRouter(tags=["operations"])


@router.get("/livez", responses=documented(BAD_REQUEST))
async def live() -> LiveOut:
    """Say that the process answers; it asks nobody else."""
    return LiveOut()


@router.get("/startupz", responses=documented(BAD_REQUEST))
async def startup() -> LiveOut:
    """Say that the start is over: the service listens only once it is."""
    return LiveOut()


@router.get("/readyz", response_model=ReadyOut, responses=documented(BAD_REQUEST, NOT_READY))
async def ready(context: ContextOf) -> ReadyOut | Response:
    """Say whether the service can work, and which dependency is missing if not."""
    missing = await context.health.missing()
    if missing:
        return json_response(NOT_READY.with_members(missing=missing))
    return ReadyOut(dependencies=context.health.dependencies)


class MetricsResponse(Response):
    """Prometheus' text format, for OpenAPI."""

    media_type = "text/plain"


@router.get(
    "/metrics", response_class=MetricsResponse, responses=documented(BAD_REQUEST, UNAUTHENTICATED, NOT_PERMITTED)
)
async def metrics(
    request: Request,
    context: ContextOf,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> Response:
    """Prometheus metrics, as OpenMetrics for those who accept it."""
    if context.settings.metrics_need_key:
        await permitted(Permission.METRICS_READ)(request, context, credentials)
    body, content_type = exposition(context.metrics, request.headers.get("accept", ""))
    # As a header rather than a media type: Starlette would append its own charset to the latter.
    return Response(body, headers={"content-type": content_type})
