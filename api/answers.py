"""The one way an error becomes an answer: problem+json for machines, a page for agents and cardholders."""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse, Response
from starlette.types import Scope

from api.console.pages import problem_page
from api.console.rendering import CONSOLE_PATH, SIGN_IN_PATH
from api.context import language_of
from api.errors import AuthenticationError
from api.oidc.sign_ins import return_path
from api.problems import json_response, problem_of
from api.self_service.pages import SELF_SERVICE_PATH, dead_link_page


def answer_error(error: Exception, scope: Scope) -> Response:
    """Answer a failed request, in the form its caller reads."""
    path = scope["path"]
    if path.startswith(SELF_SERVICE_PATH + "/"):
        return dead_link_page(problem_of(error).status)
    if path != CONSOLE_PATH and not path.startswith(CONSOLE_PATH + "/"):
        return json_response(problem_of(error))
    if isinstance(error, AuthenticationError) and path != SIGN_IN_PATH:
        return RedirectResponse(_sign_in_address(scope), status_code=303)
    return problem_page(problem_of(error), language_of(HTTPConnection(scope)))


def _sign_in_address(scope: Scope) -> str:
    """The sign-in page, which leads back to the page that was asked for."""
    asked = scope["path"] + (f"?{scope['query_string'].decode('ascii', 'replace')}" if scope["query_string"] else "")
    to = return_path(asked) if scope["method"] == "GET" else CONSOLE_PATH
    return SIGN_IN_PATH if to == CONSOLE_PATH else f"{SIGN_IN_PATH}?{urlencode({'to': to})}"
