"""/console: the queue, a case, and the override form. Everything works without scripts."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import Annotated
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import msgspec
from fastapi import APIRouter, Depends, Header, Request, Response
from starlette.responses import RedirectResponse, StreamingResponse

from api.console.actions import forms_for, read_command
from api.console.case_page import CasePageState, Draft, case_page
from api.console.language import LANGUAGE_COOKIE, Language
from api.console.macro_choices import macro_choices
from api.console.pages import queue_page
from api.console.queue_filters import (
    VIEWS_COOKIE,
    QueueFilters,
    SavedView,
    checked_name,
    read_views,
    with_view,
    written,
)
from api.console.rendering import CONSOLE_PATH, static_file
from api.console.sessions import COOKIE_NAME, Session
from api.context import Context, is_behind_tls, language_of
from api.dependencies import CaseId, ContextOf, checked_text
from api.errors import ForgedRequestError, FormError, RequestError
from api.problems import problem_of
from api.roles import Permission
from api.routes.acting import fresh_nonce, refuse_card_numbers
from api.schemas import MAXIMUM_TEXT
from api.watching import Watch, WatchOf
from casework.access import AccessTo
from casework.cases import Disposition
from casework.errors import CommandError
from casework.views import CardAction, Override

router = APIRouter(prefix=CONSOLE_PATH, include_in_schema=False)

PAGE_CASES = 50
_MAXIMUM_FIELDS = 40
SEE_OTHER = 303
_ONE_DAY_S, _ONE_YEAR_S = 86_400, 31_536_000
_MAXIMUM_VERSION_DIGITS = 15


async def _session(request: Request, context: ContextOf) -> Session:
    """The signed-in agent, or AuthenticationError, which sends the browser to the sign-in page."""
    session = await context.sessions.resume(request.cookies.get(COOKIE_NAME, ""), context.now_ms())
    request.state.caller = session.person.name
    context.desk.authority.require(session.person, Permission.CONSOLE)
    return session


SignedIn = Annotated[Session, Depends(_session)]


async def _language(request: Request) -> Language:
    return language_of(request)


LanguageOf = Annotated[Language, Depends(_language)]


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form that came from our own pages.

    Browsers say where a form comes from: in Sec-Fetch-Site, or where they do not send it, in Origin.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None and site not in {"same-origin", "none"}:
        message = "the form comes from another site"
        raise ForgedRequestError(message)
    if site is None and origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        message = "the form comes from another origin"
        raise ForgedRequestError(message)
    try:
        return dict(parse_qsl((await request.body()).decode(), keep_blank_values=True, max_num_fields=_MAXIMUM_FIELDS))
    except ValueError as error:
        raise FormError(field="form") from error


Form = Annotated[dict[str, str], Depends(_form)]


async def _own_form(session: SignedIn, form: Form) -> dict[str, str]:
    """A form of this very session."""
    session.check_form_token(form.get("form_token", ""))
    return form


OwnForm = Annotated[dict[str, str], Depends(_own_form)]


@router.get("/console.css")
async def css() -> Response:
    """The one style sheet; its address changes with its content."""
    headers = {"cache-control": f"public, max-age={_ONE_YEAR_S}, immutable"}
    return Response(static_file("console.css"), media_type="text/css", headers=headers)


@router.get("/console.js")
async def script() -> Response:
    """The one script, for keys, drafts and live lists; no page needs it. Its address changes with its content."""
    headers = {"cache-control": f"public, max-age={_ONE_YEAR_S}, immutable"}
    return Response(static_file("console.js"), media_type="text/javascript", headers=headers)


@router.get("/icon.svg")
async def icon() -> Response:
    """The brand's mark."""
    headers = {"cache-control": f"public, max-age={_ONE_DAY_S}"}
    return Response(static_file("icon.svg"), media_type="image/svg+xml", headers=headers)


@router.post("/language")
async def choose_language(request: Request, context: ContextOf, form: Form) -> Response:
    """Remember in this browser which language its pages are in, and go back to where it was."""
    path = urlsplit(request.headers.get("referer", "")).path
    # What was sent, and an answer that counts once, have no page to go back to; the case or sign-in they belong to has.
    path = path.removesuffix("/act").removesuffix("/override").removesuffix("/callback")
    response = RedirectResponse(path if path.startswith(CONSOLE_PATH) else CONSOLE_PATH, status_code=SEE_OTHER)
    if form.get("to") in context.settings.languages:
        _remember(response, request, LANGUAGE_COOKIE, form["to"])
    return response


@router.get("")
async def show_queue(
    request: Request, session: SignedIn, context: ContextOf, watch: WatchOf, language: LanguageOf, cursor: str = ""
) -> Response:
    """The queue: open cases unless asked otherwise."""
    chosen = QueueFilters.from_query(request.query_params)
    now_ms = context.now_ms()
    page = await context.desk.list_cases(chosen.of_person(session.person.name, now_ms), cursor or None, PAGE_CASES)
    await watch.tell(session.person, AccessTo.CASES, (case.card_token for case in page.cases))
    views = read_views(request.cookies.get(VIEWS_COOKIE, ""))
    return queue_page(session, page, chosen, views, language, now_ms, first=not cursor)


@router.post("/views")
async def change_views(request: Request, form: OwnForm) -> Response:
    """Save the queue's filters as a view of this browser, or remove a view, and go back to the queue."""
    views = read_views(request.cookies.get(VIEWS_COOKIE, ""))
    filters = QueueFilters.from_query(form)
    if "remove" in form:
        views = [view for view in views if view.name != form["remove"]]
    else:
        try:
            views = with_view(views, SavedView(checked_name(form.get("name", "")), filters))
        except ValueError as error:
            raise FormError(field="name") from error
    query = urlencode(filters.as_query())
    response = RedirectResponse(f"{CONSOLE_PATH}?{query}" if query else CONSOLE_PATH, status_code=SEE_OTHER)
    _remember(response, request, VIEWS_COOKIE, written(views))
    return response


def _remember(response: Response, request: Request, name: str, value: str) -> None:
    """Keep a preference in this browser."""
    response.set_cookie(name, value, max_age=_ONE_YEAR_S, path=CONSOLE_PATH, secure=is_behind_tls(request),
                        httponly=True, samesite="strict")  # fmt: skip


@router.get("/events")
async def follow_queue(
    session: SignedIn, context: ContextOf, last_event_id: Annotated[str, Header(max_length=64)] = ""
) -> Response:
    """Server-sent events: one whenever the queue is another one than before."""
    stream = context.feed.open(session.person.name, last_event_id)
    # For proxies that would wait for the end of the answer.
    return StreamingResponse(stream, media_type="text/event-stream", headers={"x-accel-buffering": "no"})


@dataclass(frozen=True, slots=True)
class CaseVisit:
    """Somebody at the page of a case.

    Attributes:
        session: theirs.
        context: what the page is made with.
        watch: told what they see and change.
        language: of the page.
        case_id: which case.
    """

    session: Session
    context: Context
    watch: Watch
    language: Language
    case_id: str

    @property
    def address(self) -> str:
        """Of the page."""
        return f"{CONSOLE_PATH}/cases/{quote(self.case_id, safe='')}"


async def _visit(
    session: SignedIn, context: ContextOf, watch: WatchOf, language: LanguageOf, case_id: CaseId
) -> CaseVisit:
    return CaseVisit(session, context, watch, language, case_id)


VisitOf = Annotated[CaseVisit, Depends(_visit)]


@router.get("/cases/{case_id}")  # noqa: FAST003  `_visit` takes it
async def show_case(visit: VisitOf, done: str = "") -> Response:
    """One case with its evidence and the override form."""
    language = visit.language
    state = CasePageState(_new_draft(), done=done if done == "override" or done in language.desk_words.actions else "")
    return await _case_page(visit, state)


@router.post("/cases/{case_id}/override")  # noqa: FAST003  `_visit` takes it
async def override(visit: VisitOf, form: OwnForm) -> Response:
    """Decide a case. What cannot be done comes back on the case page, with the agent's words where they are safe."""
    try:
        note = checked_text(_note(form))
    except RequestError as error:
        return await _case_page(visit, CasePageState(_new_draft(), problem_of(error)))
    try:
        command, version = _override(form, note, visit.session)
        view = await visit.context.desk.override(
            visit.case_id,
            command,
            now_ms=visit.context.now_ms(),
            idempotency_key=idempotency_key_of(form),
            if_match=version,
        )
    except (RequestError, CommandError) as error:
        draft = Draft(_new_draft().idempotency_key, form.get("disposition", ""), form.get("card_action", ""), note)
        return await _case_page(visit, CasePageState(draft, problem_of(error)))
    await visit.watch.tell_case(visit.session.person, view)
    return RedirectResponse(f"{visit.address}?done=override", status_code=SEE_OTHER)


@router.post("/next")
async def take_next(session: SignedIn, context: ContextOf, watch: WatchOf, _form: OwnForm) -> Response:
    """Take the most urgent case and go to it; where there is none, back to the queue."""
    view = await context.desk.next_case(session.person, now_ms=context.now_ms())
    if view is None:
        return RedirectResponse(CONSOLE_PATH, status_code=SEE_OTHER)
    await watch.tell_case(session.person, view)
    return RedirectResponse(f"{CONSOLE_PATH}/cases/{quote(view.case.case_id, safe='')}", status_code=SEE_OTHER)


@router.post("/cases/{case_id}/act")  # noqa: FAST003  `_visit` takes it
async def act(visit: VisitOf, form: OwnForm) -> Response:
    """Do one thing about a case, or show what it would do. What cannot be done comes back on the case page."""
    desk, person, now_ms = visit.context.desk, visit.session.person, visit.context.now_ms()
    try:
        command = read_command(form, now_ms)
        refuse_card_numbers(msgspec.to_builtins(command), visit.context)
        if "preview" in form:
            preview = await desk.preview(visit.case_id, (command,), person, now_ms=now_ms, nonce=fresh_nonce())
            return await _case_page(visit, CasePageState(_new_draft(), preview=preview))
        view = await desk.act(
            visit.case_id,
            (command,),
            person,
            now_ms=now_ms,
            nonce=fresh_nonce(),
            idempotency_key=idempotency_key_of(form),
            if_match=_version(form),
        )
    except (RequestError, CommandError) as error:
        return await _case_page(visit, CasePageState(_new_draft(), problem_of(error)))
    await visit.watch.tell_case(person, view)
    return RedirectResponse(f"{visit.address}?done={form['do']}", status_code=SEE_OTHER)


async def _case_page(visit: CaseVisit, state: CasePageState) -> Response:
    context, language, person = visit.context, visit.language, visit.session.person
    desk, now_ms = context.desk, context.now_ms()
    view, related = await desk.case(visit.case_id), await desk.related(visit.case_id)
    notices = () if context.notices is None else tuple(await context.notices.of_case(visit.case_id))
    shown = (view.case.card_token, *(each.case.card_token for each in related))
    await visit.watch.tell(person, AccessTo.CASE, shown, visit.case_id, is_read=state.preview is not None)
    forms = forms_for(view, person, desk.authority, desk.playbook, language, now_ms)
    offered = any(form.do == "macro" for form in forms)
    macros = macro_choices(view, person, desk.authority, desk.playbook, language, now_ms) if offered else []
    return case_page(
        visit.session,
        view,
        language,
        context.settings.rates,
        now_ms,
        replace(state, forms=tuple(forms), macros=tuple(macros), related=tuple(related), notices=notices),
        desk.authority,
    )


def _new_draft() -> Draft:
    return Draft(idempotency_key=secrets.token_urlsafe(16))


def _note(form: dict[str, str]) -> str:
    # Browsers send line ends as CR LF; the limit of the text area counts them as one character.
    note = form.get("note", "").replace("\r\n", "\n").strip()
    if not 1 <= len(note) <= MAXIMUM_TEXT:
        raise FormError(field="note")
    return note


def idempotency_key_of(form: dict[str, str]) -> str:
    """What makes a form that is sent twice one write."""
    key = form.get("idempotency_key", "")
    if not key.replace("-", "").replace("_", "").isalnum() or not key.isascii() or len(key) > 128:
        raise FormError(field="idempotency_key")
    return key


def _version(form: dict[str, str]) -> int:
    """The version of the case that the agent was looking at."""
    version = form.get("version", "")
    if not version.isascii() or not version.isdecimal() or len(version) > _MAXIMUM_VERSION_DIGITS:
        raise FormError(field="version")
    return int(version)


def _override(form: dict[str, str], note: str, session: Session) -> tuple[Override, int]:
    """The form's decision, and the version of the case the agent was looking at."""
    version = _version(form)
    try:
        disposition = Disposition(form.get("disposition", ""))
    except ValueError:
        raise FormError(field="disposition") from None
    try:
        card_action = CardAction(form.get("card_action", ""))
    except ValueError:
        raise FormError(field="card_action") from None
    return Override(disposition, card_action, note, session.person), version
