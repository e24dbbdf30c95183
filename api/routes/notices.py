"""/v1/cases/{case_id}/notices: what became of what the cardholder was told."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from api.context import Context
from api.dependencies import CaseId, ContextOf, permitted
from api.errors import NoticesMissingError
from api.keys import ApiKey
from api.notice_schemas import DeliveriesOut, DeliveryOut
from api.ports import NoticesPort
from api.problems import (
    BAD_REQUEST,
    INVALID_REQUEST,
    NOT_FOUND,
    NOT_PERMITTED,
    NOTICES_UNAVAILABLE,
    UNAUTHENTICATED,
    UNAVAILABLE,
    documented,
)
from api.roles import Permission
from api.watching import WatchOf
from casework.access import AccessTo

router = APIRouter(tags=["notices"])

_PROBLEMS = documented(
    BAD_REQUEST, UNAUTHENTICATED, NOT_PERMITTED, NOT_FOUND, INVALID_REQUEST, NOTICES_UNAVAILABLE, UNAVAILABLE
)  # fmt: skip


def notices_of(context: Context) -> NoticesPort:
    """The memory of notices.

    Raises:
        NoticesMissingError: this service has none.
    """
    if context.notices is None:
        message = "no memory of notices"
        raise NoticesMissingError(message)
    return context.notices


@router.get("/v1/cases/{case_id}/notices", responses=_PROBLEMS)
async def notices_of_case(
    caller: Annotated[ApiKey, Depends(permitted(Permission.CASE_READ))],
    context: ContextOf,
    watch: WatchOf,
    case_id: CaseId,
) -> DeliveriesOut:
    """What became of the case's notices: sent, tried again later, or failed, and why; never what they said."""
    view = await context.desk.case(case_id)
    found = await notices_of(context).of_case(case_id)
    await watch.tell(caller.person, AccessTo.NOTICES, [view.case.card_token], case_id)
    return DeliveriesOut(notices=[DeliveryOut.model_validate(delivery) for delivery in found])
