"""Why Redis does not let us in, and what to do; read from the class of what redis-py raised, for its text may tell."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

from redis.exceptions import AuthenticationError, NoPermissionError

_REFUSALS: tuple[tuple[type[BaseException], str], ...] = (
    (AuthenticationError, "Redis refuses our user or its password: check redis.url"),
    (NoPermissionError, "Redis does not let our user do that: give it the rights that docs/deployment.md lists"),
    (
        ssl.SSLError,
        (
            "TLS with Redis fails: check ssl_ca_certs in redis.url (a file with the authority that signed its "
            "certificate), and that this certificate names the host"
        ),
    ),
)


def refusal(error: BaseException) -> str:
    """Why Redis does not let us in, and what to do; empty where the error is of another kind."""
    for cause in _causes(error):
        for kind, text in _REFUSALS:
            if isinstance(cause, kind):
                return text
    return ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was raised for."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
