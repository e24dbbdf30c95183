"""/v1/breakers: whether a policy's freezes are held for people, and letting them through again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from api.dependencies import ContextOf, checked_text, permitted
from api.keys import ApiKey
from api.problems import (
    BAD_REQUEST,
    BODY_TOO_LARGE,
    CARD_NUMBER,
    INVALID_REQUEST,
    NOT_PERMITTED,
    UNAUTHENTICATED,
    UNAVAILABLE,
    documented,
)
from api.roles import Permission
from api.schemas import BreakerListOut, BreakerOut, BreakerReleaseIn

router = APIRouter(prefix="/v1/breakers", tags=["breakers"])

_MAXIMUM_POLICY_VERSION = 128
PolicyVersion = Annotated[
    str, Path(min_length=1, max_length=_MAXIMUM_POLICY_VERSION, description="`policy_version` of its decisions")
]


@router.get("", responses=documented(BAD_REQUEST, UNAUTHENTICATED, NOT_PERMITTED, UNAVAILABLE))
async def list_breakers(
    _caller: Annotated[ApiKey, Depends(permitted(Permission.BREAKER_READ))], context: ContextOf
) -> BreakerListOut:
    """List the circuit breakers for freezes: one for each version of the policy that ever froze a card."""
    return BreakerListOut(breakers=[BreakerOut.model_validate(each) for each in await context.desk.breakers()])


@router.post(
    "/{policy_version}/release",
    responses=documented(
        BAD_REQUEST, UNAUTHENTICATED, NOT_PERMITTED, BODY_TOO_LARGE, INVALID_REQUEST, CARD_NUMBER, UNAVAILABLE
    ),
)
async def release_breaker(
    caller: Annotated[ApiKey, Depends(permitted(Permission.BREAKER_RELEASE))],
    context: ContextOf,
    policy_version: PolicyVersion,
    command: BreakerReleaseIn,
) -> BreakerOut:
    """Let a policy's freezes through again, counted anew. Cases that were held stay; repeating it changes nothing."""
    released = await context.desk.release_breaker(
        policy_version, checked_text(command.reason), caller.name, now_ms=context.now_ms()
    )
    return BreakerOut.model_validate(released)
