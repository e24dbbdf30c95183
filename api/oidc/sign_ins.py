"""Sign-ins at the identity provider: authorization code flow with PKCE, from its beginning to a session.

What a sign-in that has begun needs later (`state`, `nonce`, the PKCE verifier, the page to go back to) is in a signed
cookie of the browser that began it. So nothing is written for those who may never come back, and nobody else's browser
can end the sign-in. An answer counts once: its `state` is remembered once it has opened a session.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote_plus

import msgspec

from api.card_numbers import contains_card_number
from api.console.rendering import CONSOLE_PATH
from api.console.sessions import Session, Sessions
from api.errors import SIGNED_IN, ProviderUnavailableError, SignInError, SignInRefusedError
from api.oidc.people import name_of, provider_role_of
from api.oidc.provider import Provider
from api.oidc.refused import Refused
from api.ports import SessionMemory
from casework.authority import Person
from casework.ids import CASE_ID_PATTERN

BEGUN_COOKIE = "cardwatch_sign_in"
BEGUN_FOR_S = 600
LONGEST_CODE = 4_096
_LONGEST_COOKIE = 2_048
_RANDOM_BYTES = 32
# The pages that one may want to come back to, named one by one: no address of anybody else can be among them.
_RETURN_PATH = re.compile(
    rf"{CONSOLE_PATH}(/cases/{CASE_ID_PATTERN}|/history|/figures|/shift|/lists|/new)?"
    r"(\?[A-Za-z0-9._~&=%+-]{0,256})?"
)


class _Begun(msgspec.Struct, frozen=True, array_like=True):
    """A sign-in that has begun."""

    state: str
    nonce: str
    verifier: str
    return_to: str
    ends_ms: int


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where the browser goes now, and what it keeps until it comes back."""

    address: str
    cookie: str


def return_path(asked: str) -> str:
    """Where somebody wants to be once they have signed in: a page of the console, else the queue.

    An address that may hold a card's number is none: it would be sent back to the browser.
    """
    is_ours = _RETURN_PATH.fullmatch(asked) and not contains_card_number(unquote_plus(asked))
    return asked if is_ours else CONSOLE_PATH


class SignIns:
    """Begins sign-ins and ends them."""

    def __init__(
        self,
        provider: Provider,
        sessions: Sessions,
        memory: SessionMemory,
        secret: bytes,
        machines: frozenset[str],
        allow: Callable[[Person], None],
        count: Callable[[str], None],
    ) -> None:
        """Work with a provider.

        Args:
            provider: where people sign in.
            sessions: opens what they get.
            memory: knows which answers have counted.
            secret: signs the cookie of a sign-in that has begun.
            machines: names of API keys; no person may act under one.
            allow: raises where a person may not use the console.
            count: told of each outcome, by one word.
        """
        self.provider = provider
        self._sessions = sessions
        self._memory = memory
        self._secret = secret
        self._machines = machines
        self._allow = allow
        self._count = count

    async def begin(self, return_to: str, now_ms: int) -> Beginning:
        """Begin one.

        Args:
            return_to: the page to come back to; another address than one of ours leads to the queue.
            now_ms: UTC epoch milliseconds.

        Raises:
            ProviderUnavailableError: the provider does not answer.
        """
        state, nonce, verifier = (secrets.token_urlsafe(_RANDOM_BYTES) for _ in range(3))
        begun = _Begun(state, nonce, verifier, return_path(return_to), now_ms + BEGUN_FOR_S * 1000)
        challenge = _base64url(hashlib.sha256(begun.verifier.encode()).digest())
        try:
            address = await self.provider.address_to_sign_in(begun.state, begun.nonce, challenge)
        except SignInError as error:
            self._count(error.outcome)
            raise
        body = _base64url(msgspec.json.encode(begun))
        return Beginning(address, f"{body}.{self._sign(body)}")

    async def end(self, cookie: str, answer: Mapping[str, str], now_ms: int) -> tuple[Session, str]:
        """End one: a session, and the page to go to.

        Args:
            cookie: of the browser that comes back.
            answer: the query that it comes back with.
            now_ms: UTC epoch milliseconds.

        Raises:
            SignInRefusedError: it cannot be accepted.
            RoleMissingError: the person has no role here.
            casework.errors.NotAuthorisedError: their role may not use the console.
            ProviderUnavailableError: the provider does not answer.
            casework.errors.StoreError: the memory of sessions does not answer.
        """
        try:
            session, return_to = await self._end(cookie, answer, now_ms)
        except SignInError as error:
            self._count(error.outcome)
            raise
        self._count(SIGNED_IN)
        return session, return_to

    async def address_to_sign_out(self, session: Session) -> str | None:
        """Where to go to sign out at the provider as well; None where there is no such place, or none now."""
        try:
            return await self.provider.address_to_sign_out(session.id_token)
        except ProviderUnavailableError:
            return None

    async def _end(self, cookie: str, answer: Mapping[str, str], now_ms: int) -> tuple[Session, str]:
        begun = self._begun(cookie, now_ms)
        issuer = self.provider.settings.issuer
        # RFC 9207: a provider that says who it is must be the one that was asked.
        if not hmac.compare_digest(answer.get("state", "").encode(), begun.state.encode()) or (
            answer.get("iss", issuer) != issuer
        ):
            raise SignInRefusedError(Refused.STATE)
        used = f"state:{self._sign(begun.state)}"
        if await self._memory.get(used) is not None:
            raise SignInRefusedError(Refused.STATE)
        code = answer.get("code", "")
        if "error" in answer or not 1 <= len(code) <= LONGEST_CODE:
            raise SignInRefusedError(Refused.DENIED)
        id_token = await self.provider.redeem(code, begun.verifier)
        claims = await self.provider.verified_claims(id_token, begun.nonce, now_ms)
        name = name_of(claims, self.provider.settings, self._machines)
        role = provider_role_of(claims, self.provider.settings)
        self._allow(Person(name, self.provider.settings.roles[role]))
        # Only what the provider vouched for is written: nobody else can fill the memory.
        if not await self._memory.put_new(used, b"", BEGUN_FOR_S * 1000):
            raise SignInRefusedError(Refused.STATE)
        return await self._sessions.open_from_provider(name, role, id_token, now_ms), begun.return_to

    def _begun(self, cookie: str, now_ms: int) -> _Begun:
        """What the browser kept, if it is ours and not over."""
        body, _, signature = cookie.partition(".")
        if len(cookie) > _LONGEST_COOKIE or not hmac.compare_digest(self._sign(body).encode(), signature.encode()):
            raise SignInRefusedError(Refused.STATE)
        begun = msgspec.json.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)), type=_Begun)
        if begun.ends_ms <= now_ms:
            raise SignInRefusedError(Refused.STATE)
        return begun

    def _sign(self, text: str) -> str:
        """HMAC-SHA256 in hex; the purpose in it keeps it from passing for anything of a session."""
        return hmac.new(self._secret, f"sign-in|{text}".encode(), hashlib.sha256).hexdigest()


def _base64url(raw: bytes) -> str:
    """Without padding, as RFC 7636 wants it."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
