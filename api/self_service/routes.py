"""/s: the cardholder's page. GET shows and changes nothing; every change is a form that the link's holder sends."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from starlette.responses import HTMLResponse, RedirectResponse

from api.console.rendering import static_file
from api.console.routes import SEE_OTHER, Form, idempotency_key_of
from api.context import Context
from api.dependencies import ContextOf
from api.errors import FormError
from api.routes.acting import fresh_nonce
from api.routes.notices import notices_of
from api.self_service.described import (
    ANSWER_FORM,
    CHOSEN,
    CODE_FORM,
    DONE,
    LOST_FORM,
    SETTINGS_FORM,
    SHOWN,
    Done,
    Lang,
    LinkText,
)
from api.self_service.pages import SELF_SERVICE_PATH, Shown, answer_page, settings_page
from api.self_service.service import CARDHOLDER, Moment, answer, code_sent_lately, report_lost, send_code
from api.watching import Watch, WatchOf
from casework.access import AccessTo
from casework.contacts import CHANNELS, LOCALES, ContactRecord
from casework.errors import CommandError, LinkError, VerificationError
from casework.links import Link, Purpose
from casework.proof import answers_of
from casework.views import CaseView
from detector.vocabulary import CardStatus

router = APIRouter(prefix=SELF_SERVICE_PATH, tags=["cardholder"])

_ONE_YEAR_S = 31_536_000
_CODE = re.compile(r"\s*[0-9]{6}\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Visit:
    """A cardholder on a page of theirs.

    Attributes:
        text: the link as it stands in the address.
        link: what it says.
        view: the case.
        contact: the cardholder's record.
        locale: the language of the page.
        watch: told what the cardholder sees and changes.
    """

    text: str
    link: Link
    view: CaseView
    contact: ContactRecord
    locale: str
    watch: Watch

    async def tell(self) -> None:
        """Tell that the cardholder sees or changes what this page shows."""
        case = self.view.case
        await self.watch.tell(CARDHOLDER, AccessTo.OWN_CASE, [case.card_token], case.case_id)


async def _answering(context: ContextOf, watch: WatchOf, visit: LinkText, lang: Lang = "") -> Visit:
    return await _visit(context, watch, visit, Purpose.ANSWER, lang)


async def _choosing(context: ContextOf, watch: WatchOf, visit: LinkText, lang: Lang = "") -> Visit:
    return await _visit(context, watch, visit, Purpose.SETTINGS, lang)


async def _visit(context: Context, watch: Watch, text: str, purpose: Purpose, lang: str) -> Visit:
    """Let in whoever holds a link for this purpose.

    Raises:
        LinkError: they hold none.
        CaseNotFoundError: its case was closed so long ago that it is not known any more.
    """
    link = _links(context, text, purpose)
    view = await context.desk.case(link.case_id)
    contact = await notices_of(context).contact(view.case.card_token) or ContactRecord()
    locale = lang if lang in LOCALES else contact.locale or context.desk.playbook.locale
    return Visit(text, link, view, contact, locale, watch)


def _links(context: Context, text: str, purpose: Purpose) -> Link:
    """What a link says.

    Raises:
        LinkError: it is none of ours, or this service signs none.
    """
    if context.settings.links is None:
        message = "no links are signed here"
        raise LinkError(message)
    return context.settings.links.read(text, purpose, context.now_ms())


Answering = Annotated[Visit, Depends(_answering)]
Choosing = Annotated[Visit, Depends(_choosing)]


@router.get("/page.css", include_in_schema=False)
async def css() -> Response:
    """The style sheet; its address changes with its content."""
    headers = {"cache-control": f"public, max-age={_ONE_YEAR_S}, immutable"}
    return Response(static_file("self_service.css"), media_type="text/css", headers=headers)


@router.get("/{visit}", response_class=HTMLResponse, responses=SHOWN)
async def show_own_case(context: ContextOf, visit: Answering) -> Response:
    """Show the cardholder what happened and ask "Was this you?"; to look changes nothing."""
    return await _page(context, visit, visit.view)


@router.post("/{visit}/answer", response_class=HTMLResponse, responses=DONE, openapi_extra=ANSWER_FORM)
async def answer_for_payment(context: ContextOf, visit: Answering, form: Form) -> Response:
    """Take YES or NO to a payment, with a code where the cardholder has one; the page says what came of it."""
    mine = {"yes": True, "no": False}.get(form.get("mine", ""))
    transaction_id, code = form.get("transaction_id", ""), form.get("code", "").strip()
    if mine is None or transaction_id not in visit.view.case.transaction_ids:
        raise FormError(field="mine")
    if mine and code and not _CODE.fullmatch(code):
        return await _page(context, visit, visit.view, "code_wrong", is_bad=True)
    moment = _moment(context, form)
    try:
        view = await answer(context.desk, visit.view, transaction_id, code or None, moment, mine=mine)
    except VerificationError:
        return await _page(context, visit, visit.view, "code_refused", is_bad=True)
    except CommandError:
        return await _page(context, visit, visit.view, "not_now", is_bad=True)
    if not mine:
        return await _page(context, visit, view, "said_no")
    is_known = view.case.verification.holds(moment.now_ms)
    if code and not is_known:
        return await _page(context, visit, view, "code_wrong", is_bad=True)
    return await _page(context, visit, view, _yes_said(view) if is_known else "said_yes")


def _yes_said(view: CaseView) -> str:
    """What comes of a YES of somebody who is known: the card works, there is more to answer, or a person looks."""
    if view.card_state is CardStatus.ACTIVE:
        return "said_yes_active"
    answers = answers_of(view)
    is_more = any(transaction_id not in answers for transaction_id in view.case.transaction_ids)
    return "said_yes_more" if is_more else "said_yes_verified"


@router.post("/{visit}/code", response_class=HTMLResponse, responses=DONE, openapi_extra=CODE_FORM)
async def ask_for_code(context: ContextOf, visit: Answering, form: Form) -> Response:
    """Send a one-time code to the cardholder, at most one a minute."""
    try:
        view = await send_code(context.desk, visit.view, _moment(context, form))
    except CommandError:
        return await _page(context, visit, visit.view, "code_refused", is_bad=True)
    return await _page(context, visit, view, "code_sent")


@router.post("/{visit}/lost", response_class=HTMLResponse, responses=DONE, openapi_extra=LOST_FORM)
async def report_card_lost(context: ContextOf, visit: Answering, form: Form) -> Response:
    """Stop the card at once; a person confirms it later."""
    try:
        view = await report_lost(context.desk, visit.view, _moment(context, form))
    except CommandError:
        return await _page(context, visit, visit.view, "not_now", is_bad=True)
    # Where a new case was opened, the link still shows the one it was made for, with the card as it is now.
    return await _page(context, visit, replace(visit.view, card_state=view.card_state), "said_lost")


@router.get("/{visit}/settings", response_class=HTMLResponse, responses=SHOWN)
async def show_contact_choices(visit: Choosing, done: Done = "") -> Response:
    """Show language and channel; the link is one for this purpose, as the other page has it."""
    await visit.tell()
    return settings_page(visit.contact, visit.text, visit.locale, done=done == "1")


@router.post(
    "/{visit}/settings",
    status_code=SEE_OTHER,
    response_class=RedirectResponse,
    responses=CHOSEN,
    openapi_extra=SETTINGS_FORM,
)
async def choose_contact(context: ContextOf, visit: Choosing, form: Form) -> Response:
    """Keep language and channel; everything else of the record stays."""
    locale, channel = form.get("locale", ""), form.get("channel", "")
    if locale not in LOCALES or channel not in CHANNELS:
        raise FormError(field="locale")
    others = tuple(each for each in visit.contact.channels if each != channel)
    record = ContactRecord(
        locale, (channel, *others), visit.contact.email, visit.contact.time_zone, visit.contact.quiet_from,
        visit.contact.quiet_until,
    )  # fmt: skip
    # Before it is done: no topic but this one tells of it.
    await visit.tell()
    await notices_of(context).put_contact(visit.view.case.card_token, record)
    return RedirectResponse(f"{SELF_SERVICE_PATH}/{visit.text}/settings?done=1", status_code=SEE_OTHER)


def _moment(context: Context, form: dict[str, str]) -> Moment:
    return Moment(context.now_ms(), fresh_nonce(), idempotency_key_of(form))


async def _page(context: Context, visit: Visit, view: CaseView, said: str = "", *, is_bad: bool = False) -> Response:
    await visit.tell()
    links, now_ms = context.settings.links, context.now_ms()
    other = "" if links is None else links.sign(replace(visit.link, purpose=Purpose.SETTINGS))
    challenge = view.case.verification.challenge
    is_asked = challenge is not None and challenge.method == "code" and now_ms < challenge.expires_ms
    shown = Shown(
        visit.text, other, visit.locale, secrets.token_urlsafe(16), said, is_bad,
        code_sent=is_asked or code_sent_lately(context.desk, view, now_ms),
    )  # fmt: skip
    return answer_page(view, shown, visit.contact.zone, now_ms)
