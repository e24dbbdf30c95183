"""/console/sign-in and /console/sign-out: at the identity provider where there is one, with an API key elsewhere."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from starlette.responses import RedirectResponse

from api.console.pages import passing_page, sign_in_page
from api.console.rendering import CALLBACK_PATH, CONSOLE_PATH, PROVIDER_PATH, SIGN_IN_PATH, SIGN_OUT_PATH
from api.console.routes import SEE_OTHER, Form, LanguageOf, OwnForm, SignedIn
from api.console.sessions import COOKIE_NAME, Session
from api.context import Context, is_behind_tls
from api.dependencies import ContextOf
from api.errors import SIGNED_IN, UNKNOWN_KEY, AuthenticationError
from api.oidc.sign_ins import BEGUN_COOKIE, BEGUN_FOR_S, SignIns, return_path
from api.roles import Permission

router = APIRouter(include_in_schema=False)


@router.get(SIGN_IN_PATH)
async def show_sign_in(context: ContextOf, language: LanguageOf, to: str = "") -> Response:
    """Where one signs in."""
    return sign_in_page(language, return_path(to), at_provider=context.sign_ins is not None)


@router.post(SIGN_IN_PATH)
async def sign_in(request: Request, context: ContextOf, language: LanguageOf, form: Form) -> Response:
    """Open a session for an API key that may use the console; not where people sign in at a provider."""
    to = return_path(form.get("to", ""))
    try:
        key = context.sessions.key_of(form.get("api_key", ""))
    except AuthenticationError:
        context.count_sign_in(UNKNOWN_KEY)
        return sign_in_page(language, to, at_provider=context.sign_ins is not None, failed=True)
    context.desk.authority.require(key.person, Permission.CONSOLE)
    session = await context.sessions.open_with_key(key, context.now_ms())
    context.count_sign_in(SIGNED_IN)
    response = RedirectResponse(to, status_code=SEE_OTHER)
    _keep_session(response, request, context, session)
    return response


@router.get(PROVIDER_PATH)
async def begin_at_provider(request: Request, context: ContextOf, to: str = "") -> Response:
    """Send the browser to the identity provider."""
    beginning = await _sign_ins(context).begin(to, context.now_ms())
    response = RedirectResponse(beginning.address, status_code=SEE_OTHER)
    # Lax: the browser comes back from another site, and must bring it.
    response.set_cookie(
        BEGUN_COOKIE, beginning.cookie, max_age=BEGUN_FOR_S, path=CALLBACK_PATH, httponly=True, samesite="lax",
        secure=is_behind_tls(request),
    )  # fmt: skip
    return response


@router.get(CALLBACK_PATH)
async def come_back(request: Request, context: ContextOf, language: LanguageOf) -> Response:
    """Take the provider's answer, and go where the browser wanted to.

    By a page, not a redirect: the browser still comes from the provider's site, and the session's cookie, which is
    strict, would not be sent along.
    """
    begun = request.cookies.get(BEGUN_COOKIE, "")
    session, to = await _sign_ins(context).end(begun, request.query_params, context.now_ms())
    request.state.caller = session.person.name
    response = passing_page(language, to, language.say("sign_in.done"), language.say("sign_in.go_on"))
    response.delete_cookie(BEGUN_COOKIE, path=CALLBACK_PATH, httponly=True, samesite="lax")
    _keep_session(response, request, context, session)
    return response


@router.post(SIGN_OUT_PATH)
async def sign_out(session: SignedIn, context: ContextOf, language: LanguageOf, _form: OwnForm) -> Response:
    """End the session, here and, where there is a place for it, at the provider.

    By a page as well: the policy of our pages lets no form lead to another site.
    """
    await context.sessions.end(session)
    address = None if context.sign_ins is None else await context.sign_ins.address_to_sign_out(session)
    response: Response
    if address is None:
        response = RedirectResponse(SIGN_IN_PATH, status_code=SEE_OTHER)
    else:
        said, link = language.say("sign_in.signed_out"), language.say("sign_in.sign_out_there")
        response = passing_page(language, address, said, link)
    response.delete_cookie(COOKIE_NAME, path=CONSOLE_PATH, httponly=True, samesite="strict")
    return response


def _sign_ins(context: Context) -> SignIns:
    """The provider's sign-ins.

    Raises:
        AuthenticationError: people sign in with API keys here.
    """
    if context.sign_ins is None:
        message = "no identity provider is configured"
        raise AuthenticationError(message)
    return context.sign_ins


def _keep_session(response: Response, request: Request, context: Context, session: Session) -> None:
    """Give the session's cookie to the browser, which shows it to us alone."""
    response.set_cookie(
        COOKIE_NAME, session.cookie, max_age=context.sessions.lifetime_seconds, path=CONSOLE_PATH, httponly=True,
        samesite="strict", secure=is_behind_tls(request),
    )  # fmt: skip
