"""Console sessions: a signed cookie that names an API key, and the form token that goes with it.

The cookie holds the key's name, an end and a nonce, signed with HMAC-SHA256 under the service's session secret and the
key's digest. It never holds the key; it dies with the key's configuration, and needs no storage, so any process behind
the same address can check it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass

from api.errors import ApiError, AuthenticationError, ForgedRequestError
from api.keys import ApiKey, ApiKeys

COOKIE_NAME = "cardwatch_session"
MINIMUM_SECRET_BYTES = 32
_SEPARATOR = "|"
_LONGEST_COOKIE = 512


class SessionSecretError(ApiError):
    """The session secret is too short."""


@dataclass(frozen=True, slots=True)
class Session:
    """An agent signed in at the console.

    Attributes:
        key: the API key it was opened with.
        cookie: the cookie's value.
        form_token: what every form of this session carries.
    """

    key: ApiKey
    cookie: str
    form_token: str

    def check_form_token(self, token: str) -> None:
        """Pass if a form's token is this session's.

        Raises:
            ForgedRequestError: it is another one, or none.
        """
        if not hmac.compare_digest(token.encode(), self.form_token.encode()):
            message = "wrong form token"
            raise ForgedRequestError(message)


class Sessions:
    """Opens and checks sessions."""

    def __init__(self, secret: bytes, lifetime_ms: int, keys: ApiKeys, nonce: Callable[[], str]) -> None:
        """Sign with one secret.

        Args:
            secret: at least 32 random bytes, shared by all processes behind one address.
            lifetime_ms: how long a session lasts.
            keys: the configured keys.
            nonce: makes a fresh random text for each session.

        Raises:
            SessionSecretError: the secret is too short.
        """
        if len(secret) < MINIMUM_SECRET_BYTES:
            message = f"the console's session secret needs at least {MINIMUM_SECRET_BYTES} random bytes"
            raise SessionSecretError(message)
        self._secret = secret
        self._lifetime_ms = lifetime_ms
        self._keys = keys
        self._nonce = nonce

    @property
    def lifetime_seconds(self) -> int:
        """How long a cookie lasts, for its Max-Age."""
        return self._lifetime_ms // 1000

    def open(self, secret: str, now_ms: int) -> Session:
        """Sign in with an API key.

        Raises:
            AuthenticationError: no key has this secret.
        """
        key = self._keys.authenticate(secret)
        payload = _SEPARATOR.join((key.name, str(now_ms + self._lifetime_ms), self._nonce()))
        return self._session(key, payload + _SEPARATOR + self._sign("session", key, payload))

    def resume(self, cookie: str, now_ms: int) -> Session:
        """The session of a cookie.

        Raises:
            AuthenticationError: the cookie is not ours, or its session has ended.
        """
        payload, _, signature = cookie.rpartition(_SEPARATOR)
        parts = payload.split(_SEPARATOR)
        if len(cookie) > _LONGEST_COOKIE or len(parts) != 3:
            message = "not a session cookie"
            raise AuthenticationError(message)
        key = self._keys.named(parts[0])
        if not hmac.compare_digest(self._sign("session", key, payload).encode(), signature.encode()):
            message = "the session cookie's signature is wrong"
            raise AuthenticationError(message)
        if int(parts[1]) <= now_ms:
            message = "the session has ended"
            raise AuthenticationError(message)
        return self._session(key, cookie)

    def _session(self, key: ApiKey, cookie: str) -> Session:
        return Session(key, cookie, self._sign("form", key, cookie))

    def _sign(self, purpose: str, key: ApiKey, text: str) -> str:
        """HMAC-SHA256 in hex; the purpose keeps a form token from passing for a session and the other way round."""
        message = _SEPARATOR.join((purpose, key.sha256, text)).encode()
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()
