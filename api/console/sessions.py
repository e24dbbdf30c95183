"""Console sessions: a cookie with a random name, what the service remembers under it, and a form token.

The cookie holds nothing but its own randomness. What is remembered is shared by all processes and lies under an
HMAC-SHA256 of the cookie, so that neither the memory nor a copy of it opens a session. Every sign-in gets a new cookie;
signing out forgets, wherever the cookie was copied to. A session dies with the configuration that let its person in:
with their API key, or with what their role at the identity provider means here.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from api.errors import ApiError, AuthenticationError, ForgedRequestError
from api.keys import ApiKey, ApiKeys
from api.ports import SessionMemory
from api.roles import Role
from casework.authority import Person

COOKIE_NAME = "cardwatch_session"
MINIMUM_SECRET_BYTES = 32
_LONGEST_COOKIE = 512


class SessionSecretError(ApiError):
    """The session secret is too short."""


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody signed in at the console.

    Attributes:
        person: who, as events name them.
        cookie: the cookie's value.
        form_token: what every form of this session carries.
        id_token: what the identity provider is shown at signing out; empty for a session opened with an API key.
    """

    person: Person
    cookie: str
    form_token: str
    id_token: str = ""

    def check_form_token(self, token: str) -> None:
        """Pass if a form's token is this session's.

        Raises:
            ForgedRequestError: it is another one, or none.
        """
        if not hmac.compare_digest(token.encode(), self.form_token.encode()):
            message = "wrong form token"
            raise ForgedRequestError(message)


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """Why somebody was let in; looked at again with every request.

    Attributes:
        name: who.
        ends_ms: when the session ends.
        key_sha256: digest of the API key that they came with.
        provider_role: the identity provider's word for their role, where they came from there.
        id_token: as in `Session`.
    """

    name: str
    ends_ms: int
    key_sha256: str = ""
    provider_role: str = ""
    id_token: str = ""


class Sessions:
    """Opens, resumes and ends sessions."""

    def __init__(
        self,
        secret: bytes,
        lifetime_ms: int,
        keys: ApiKeys,
        memory: SessionMemory,
        nonce: Callable[[], str],
        provider_roles: Mapping[str, Role] | None = None,
    ) -> None:
        """Remember nothing yet.

        Args:
            secret: at least 32 random bytes, shared by all processes behind one address.
            lifetime_ms: how long a session lasts.
            keys: the configured keys.
            memory: where sessions are kept.
            nonce: makes a text that cannot be guessed, for each session.
            provider_roles: what the identity provider's words for roles mean here; None where people sign in with keys.

        Raises:
            SessionSecretError: the secret is too short.
        """
        if len(secret) < MINIMUM_SECRET_BYTES:
            message = f"the console's session secret needs at least {MINIMUM_SECRET_BYTES} random bytes"
            raise SessionSecretError(message)
        self._secret = secret
        self._lifetime_ms = lifetime_ms
        self._keys = keys
        self._memory = memory
        self._nonce = nonce
        self._provider_roles = provider_roles

    @property
    def lifetime_seconds(self) -> int:
        """How long a cookie lasts, for its Max-Age."""
        return self._lifetime_ms // 1000

    def key_of(self, secret: str) -> ApiKey:
        """The API key that somebody signs in with.

        Raises:
            AuthenticationError: no key has this secret, or people sign in at an identity provider here.
        """
        if self._provider_roles is not None:
            message = "people sign in at the identity provider"
            raise AuthenticationError(message)
        return self._keys.authenticate(secret)

    async def open_with_key(self, key: ApiKey, now_ms: int) -> Session:
        """Sign in with an API key.

        Raises:
            casework.errors.StoreError: the memory does not answer.
        """
        return await self._open(Admission(name=key.name, ends_ms=self._end_ms(now_ms), key_sha256=key.sha256))

    async def open_from_provider(self, name: str, provider_role: str, id_token: str, now_ms: int) -> Session:
        """Sign in somebody whom the identity provider vouches for.

        Raises:
            AuthenticationError: the provider's word for their role means nothing here.
            casework.errors.StoreError: the memory does not answer.
        """
        return await self._open(
            Admission(name=name, ends_ms=self._end_ms(now_ms), provider_role=provider_role, id_token=id_token)
        )

    async def resume(self, cookie: str, now_ms: int) -> Session:
        """The session of a cookie.

        Raises:
            AuthenticationError: the cookie is not ours, or its session has ended.
            casework.errors.StoreError: the memory does not answer.
        """
        if not cookie or len(cookie) > _LONGEST_COOKIE:
            message = "not a session cookie"
            raise AuthenticationError(message)
        found = await self._memory.get(self._place(cookie))
        if found is None:
            message = "no such session, or not any more"
            raise AuthenticationError(message)
        admission = msgspec.json.decode(found, type=Admission)
        if admission.ends_ms <= now_ms:
            message = "the session has ended"
            raise AuthenticationError(message)
        return self._session(admission, cookie)

    async def end(self, session: Session) -> None:
        """Forget a session.

        Raises:
            casework.errors.StoreError: the memory does not answer; the session may go on.
        """
        await self._memory.take(self._place(session.cookie))

    async def _open(self, admission: Admission) -> Session:
        cookie = self._nonce()
        session = self._session(admission, cookie)
        if not await self._memory.put_new(self._place(cookie), msgspec.json.encode(admission), self._lifetime_ms):
            message = "the name of a session was given out before"
            raise AuthenticationError(message)
        return session

    def _session(self, admission: Admission, cookie: str) -> Session:
        """The session, if what let its person in still would."""
        return Session(self._person(admission), cookie, self._sign("form", cookie), admission.id_token)

    def _person(self, admission: Admission) -> Person:
        if self._provider_roles is not None:
            role = self._provider_roles.get(admission.provider_role)
            if role is None:
                message = "the session was not opened by the identity provider, or its role means nothing any more"
                raise AuthenticationError(message)
            return Person(admission.name, role)
        key = self._keys.named(admission.name)
        if not hmac.compare_digest(key.sha256, admission.key_sha256):
            message = "the session's API key is another one now"
            raise AuthenticationError(message)
        return key.person

    def _end_ms(self, now_ms: int) -> int:
        return now_ms + self._lifetime_ms

    def _place(self, cookie: str) -> str:
        return f"session:{self._sign('session', cookie)}"

    def _sign(self, purpose: str, text: str) -> str:
        """HMAC-SHA256 in hex; the purpose keeps a form token from naming a session and the other way round."""
        return hmac.new(self._secret, f"{purpose}|{text}".encode(), hashlib.sha256).hexdigest()
