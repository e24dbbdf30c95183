"""How a template becomes a page: in one language, everything escaped, style sheet and script by their content."""

from __future__ import annotations

import hashlib
import importlib.resources
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse

from api.console import words
from api.console.language import Language
from api.console.sessions import Session

CONSOLE_PATH = "/console"
SIGN_IN_PATH = CONSOLE_PATH + "/sign-in"
# Where a sign-in at the identity provider begins, and where it comes back to.
PROVIDER_PATH = SIGN_IN_PATH + "/provider"
CALLBACK_PATH = SIGN_IN_PATH + "/callback"
SIGN_OUT_PATH = CONSOLE_PATH + "/sign-out"
# What each language calls itself.
LANGUAGE_NAMES = {"en": "English", "fil": "Filipino", "zh": "\u4e2d\u6587"}


@lru_cache(maxsize=8)
def static_file(name: str) -> bytes:
    """A file of `api/static`, found in the installed package."""
    return (importlib.resources.files("api") / "static" / name).read_bytes()


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates, found in the installed package; everything they print is escaped."""
    templates = Environment(
        loader=PackageLoader("api", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "machine_moment": words.machine_moment,
        "short_token": words.short_token,
        "words": words.words,
    }
    templates.globals |= {
        "console_path": CONSOLE_PATH,
        "sign_in_path": SIGN_IN_PATH,
        "provider_path": PROVIDER_PATH,
        "sign_out_path": SIGN_OUT_PATH,
        "stylesheet_path": versioned("console.css"),
        "script_path": versioned("console.js"),
        "language_names": LANGUAGE_NAMES,
    }
    return templates


def versioned(name: str) -> str:
    """Address of a static file that changes with its content, so that the content may be cached for ever."""
    return f"{CONSOLE_PATH}/{name}?v={static_digest(name)}"


def static_digest(name: str) -> str:
    """What names the content of a static file."""
    return hashlib.sha256(static_file(name)).hexdigest()[:12]


def render(
    template: str, language: Language, *, status_code: int = 200, session: Session | None = None, **values: Any
) -> HTMLResponse:
    """A page. Templates say `t("table.key")` for texts of pages and `c("table", value)` for words of the contract."""
    body = (
        environment()
        .get_template(template)
        .render(session=session, language=language, t=language.say, c=language.choice, **values)
    )
    return HTMLResponse(body, status_code=status_code)
