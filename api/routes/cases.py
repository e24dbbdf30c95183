"""/v1/cases: the queue, one case, and a person's decision on it."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Response

from api.dependencies import (
    CardTokenFilter,
    CaseId,
    ContextOf,
    Cursor,
    IdempotencyKey,
    IfMatch,
    checked_text,
    etag,
    permitted,
)
from api.keys import ApiKey
from api.problems import (
    BAD_REQUEST,
    BODY_TOO_LARGE,
    CARD_NUMBER,
    CASE_LOCKED,
    CASE_OPEN,
    IDEMPOTENCY_CONFLICT,
    INVALID_REQUEST,
    MALFORMED_HEADER,
    NOT_FOUND,
    NOT_PERMITTED,
    NOT_POSSIBLE,
    NOT_VERIFIED,
    NOTHING_WAITS,
    UNAUTHENTICATED,
    UNAVAILABLE,
    VERIFICATION_REFUSED,
    VERSION_CONFLICT,
    documented,
    with_etag,
)
from api.roles import Permission
from api.schemas import (
    DEFAULT_LIMIT,
    CaseDetailOut,
    CasePageOut,
    Limit,
    OverrideIn,
    RelatedCaseOut,
    RelatedCasesOut,
)
from api.watching import Watch, WatchOf
from casework.access import AccessTo
from casework.cases import CaseState
from casework.kinds import CaseKind
from casework.views import CaseFilters, CaseView, Due, Override
from detector.vocabulary import Action

router = APIRouter(prefix="/v1/cases", tags=["cases"])

AlertAction = Literal["STEP_UP", "REVIEW", "DECLINE", "FREEZE"]

_LIST_PROBLEMS = documented(BAD_REQUEST, UNAUTHENTICATED, NOT_PERMITTED, INVALID_REQUEST, CARD_NUMBER, UNAVAILABLE)
_READ_PROBLEMS = documented(BAD_REQUEST, UNAUTHENTICATED, NOT_PERMITTED, NOT_FOUND, INVALID_REQUEST, UNAVAILABLE)
WRITE_PROBLEMS = documented(
    BAD_REQUEST,
    MALFORMED_HEADER,
    UNAUTHENTICATED,
    NOT_PERMITTED,
    NOT_VERIFIED,
    NOT_FOUND,
    IDEMPOTENCY_CONFLICT,
    NOT_POSSIBLE,
    CASE_LOCKED,
    CASE_OPEN,
    NOTHING_WAITS,
    VERIFICATION_REFUSED,
    VERSION_CONFLICT,
    BODY_TOO_LARGE,
    INVALID_REQUEST,
    CARD_NUMBER,
    UNAVAILABLE,
)


@router.get("", responses=_LIST_PROBLEMS)
async def list_cases(
    caller: Annotated[ApiKey, Depends(permitted(Permission.CASE_READ))],
    context: ContextOf,
    watch: WatchOf,
    card_token: CardTokenFilter,
    state: Annotated[CaseState | None, Query(description="Without it, every case that is open")] = None,
    action: Annotated[AlertAction | None, Query(description="Only cases whose severest alert says this")] = None,
    kind: Annotated[CaseKind | None, Query(description="Only cases of this kind")] = None,
    owner: Annotated[
        str | None, Query(max_length=64, description="Only cases that this person works on now; empty: nobody does")
    ] = None,
    due: Annotated[Due | None, Query(description="Only cases near their target or beyond, or beyond it")] = None,
    cursor: Cursor = None,
    limit: Annotated[Limit, Query()] = DEFAULT_LIMIT,
) -> CasePageOut:
    """List cases, most urgent first: severest action, then money at risk, then age."""
    filters = CaseFilters(
        state=state,
        action=None if action is None else Action[action],
        card_token=card_token,
        kind=kind,
        owner=owner,
        due=due,
        now_ms=context.now_ms(),
    )
    page = await context.desk.list_cases(filters, cursor, limit)
    asked = [] if card_token is None else [card_token]
    await watch.tell(caller.person, AccessTo.CASES, [*asked, *(case.card_token for case in page.cases)])
    return CasePageOut.model_validate(page)


@router.get("/{case_id}", responses=with_etag(_READ_PROBLEMS))
async def read_case(
    caller: Annotated[ApiKey, Depends(permitted(Permission.CASE_READ))],
    context: ContextOf,
    watch: WatchOf,
    case_id: CaseId,
    response: Response,
) -> CaseDetailOut:
    """Read a case: evidence, last payments, timeline. The ETag is what If-Match of an override wants."""
    return await answer(await context.desk.case(case_id), watch, caller, response)


@router.get("/{case_id}/related", responses=_READ_PROBLEMS)
async def related_cases(
    caller: Annotated[ApiKey, Depends(permitted(Permission.CASE_READ))],
    context: ContextOf,
    watch: WatchOf,
    case_id: CaseId,
) -> RelatedCasesOut:
    """List other cases of the card, and the latest at the same merchants, terminals and devices, the latest first."""
    found = await context.desk.related(case_id)
    await watch.tell(caller.person, AccessTo.RELATED_CASES, (each.case.card_token for each in found), case_id)
    return RelatedCasesOut(cases=[RelatedCaseOut.model_validate(each) for each in found])


@router.post("/{case_id}/override", responses=with_etag(WRITE_PROBLEMS))
async def override_case(
    caller: Annotated[ApiKey, Depends(permitted(Permission.CASE_OVERRIDE))],
    context: ContextOf,
    watch: WatchOf,
    case_id: CaseId,
    command: OverrideIn,
    idempotency_key: IdempotencyKey,
    if_match: IfMatch,
    response: Response,
) -> CaseDetailOut:
    """Decide a case: in one step it closes, the card changes, the label goes to the models, its reasons are damped."""
    view = await context.desk.override(
        case_id,
        Override(command.disposition, command.card_action, checked_text(command.note), caller.person),
        now_ms=context.now_ms(),
        idempotency_key=idempotency_key,
        if_match=if_match,
    )
    return await answer(view, watch, caller, response)


async def answer(view: CaseView, watch: Watch, caller: ApiKey, response: Response) -> CaseDetailOut:
    """A case as JSON, with its version as ETag; who sees or changes it is told first."""
    await watch.tell_case(caller.person, view)
    response.headers["etag"] = etag(view.case.sequence)
    return CaseDetailOut.model_validate(view)
