"""The identity provider over HTTP: its discovery document, its keys, and codes for ID tokens.

OpenID Connect Discovery 1.0, OAuth 2.0 (RFC 6749) with PKCE (RFC 7636), RP-Initiated Logout 1.0. Answers are bounded in
size and time, redirects are not followed, and nothing that the provider says is repeated in an error.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast
from urllib.parse import quote, urlencode, urlsplit

import httpx
import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import Key, KeySet, import_key

from api.errors import ProviderUnavailableError, SignInRefusedError
from api.oidc.addresses import is_safe_address
from api.oidc.refused import Refused
from api.oidc.settings import ProviderSettings
from api.oidc.tokens import Claims, Expected, verified_claims

logger = logging.getLogger("cardwatch.api")

ANSWER_WITHIN_S = 5.0
_LARGEST_ANSWER = 1024 * 1024
_KNOWN_FOR_MS = 3_600_000
# The hint is recommended, not required, and many servers refuse addresses beyond 8 kB.
_LONGEST_HINT = 4_096
_DISCOVERY = "/.well-known/openid-configuration"
# Those of `ALGORITHMS`.
_KEY_TYPES = frozenset({"RSA", "EC"})

Answer = TypeVar("Answer")


class Metadata(msgspec.Struct, frozen=True):
    """What we use of a discovery document."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    end_session_endpoint: str = ""
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class _Tokens(msgspec.Struct, frozen=True):
    id_token: str


class _OAuthError(msgspec.Struct, frozen=True):
    error: str = ""


class _Jwks(msgspec.Struct, frozen=True):
    keys: list[dict[str, object]]


class _WrongStatusError(Exception):
    """The provider refused a request; `body` says why."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"status {status}")
        self.body = body


class Provider:
    """An identity provider. What it says of itself is known for an hour; of its keys, until one is missing."""

    def __init__(
        self, settings: ProviderSettings, new_client: Callable[[], httpx.AsyncClient], clock: Callable[[], int]
    ) -> None:
        """Ask nothing yet.

        Args:
            settings: of the provider.
            new_client: makes a client for one conversation; sign-ins are rare, so connections are not kept.
            clock: UTC epoch milliseconds.
        """
        self.settings = settings
        self._new_client = new_client
        self._clock = clock
        self._metadata: tuple[int, Metadata] | None = None
        self._keys: tuple[int, KeySet] | None = None

    async def metadata(self) -> Metadata:
        """What the provider says of itself.

        Raises:
            ProviderUnavailableError: it does not, or something that cannot be used.
        """
        if self._metadata is not None and self._clock() < self._metadata[0]:
            return self._metadata[1]
        metadata = _decoded(await self._ask("GET", self.settings.issuer.rstrip("/") + _DISCOVERY), Metadata)
        addresses = (metadata.authorization_endpoint, metadata.token_endpoint, metadata.jwks_uri)
        optional = (metadata.end_session_endpoint,) if metadata.end_session_endpoint else ()
        if metadata.issuer != self.settings.issuer:
            message = "the discovery document states another issuer"
            raise _unavailable(message)
        if not all(is_safe_address(address) for address in (*addresses, *optional)):
            message = "the discovery document names an address without TLS"
            raise _unavailable(message)
        self._metadata = (self._clock() + _KNOWN_FOR_MS, metadata)
        return metadata

    async def keys(self, *, anew: bool = False) -> KeySet:
        """The public keys that it signs with; `anew` asks again whatever is known.

        Raises:
            ProviderUnavailableError: it gives none that can be used.
        """
        if not anew and self._keys is not None and self._clock() < self._keys[0]:
            return self._keys[1]
        listed = _decoded(await self._ask("GET", (await self.metadata()).jwks_uri), _Jwks)
        usable = [key for each in listed.keys if (key := _public_key(each)) is not None]
        if not usable:
            message = "it publishes no key that can be used"
            raise _unavailable(message)
        self._keys = (self._clock() + _KNOWN_FOR_MS, KeySet(usable))
        return self._keys[1]

    async def address_to_sign_in(self, state: str, nonce: str, challenge: str) -> str:
        """Where a browser goes to sign in.

        Args:
            state: comes back with the answer.
            nonce: comes back in the ID token.
            challenge: of PKCE, by S256.

        Raises:
            ProviderUnavailableError: as `metadata`.
        """
        settings = self.settings
        return _with_query(
            (await self.metadata()).authorization_endpoint,
            {
                "response_type": "code",
                "client_id": settings.client_id,
                "redirect_uri": settings.redirect_uri,
                "scope": settings.scope,
                "state": state,
                "nonce": nonce,
                "code_challenge": challenge,
                "code_challenge_method": "S256",
            },
        )

    async def address_to_sign_out(self, id_token: str) -> str | None:
        """Where a browser goes to sign out at the provider as well; None where it states no such place.

        Raises:
            ProviderUnavailableError: as `metadata`.
        """
        endpoint = (await self.metadata()).end_session_endpoint
        if not endpoint:
            return None
        fields = {"client_id": self.settings.client_id, "post_logout_redirect_uri": self.settings.signed_out_uri}
        if len(id_token) <= _LONGEST_HINT:
            fields["id_token_hint"] = id_token
        return _with_query(endpoint, fields)

    async def redeem(self, code: str, verifier: str) -> str:
        """The ID token for a code.

        Args:
            code: as it came back.
            verifier: of PKCE.

        Raises:
            SignInRefusedError: the provider does not know the code, or not any more.
            ProviderUnavailableError: it gives no usable answer.
        """
        metadata, settings = await self.metadata(), self.settings
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": settings.redirect_uri,
            "code_verifier": verifier,
        }
        auth = None
        if settings.client_secret and "client_secret_basic" in metadata.token_endpoint_auth_methods_supported:
            # RFC 6749, section 2.3.1: both are form-encoded first.
            auth = httpx.BasicAuth(quote(settings.client_id, safe=""), quote(settings.client_secret, safe=""))
        else:
            form["client_id"] = settings.client_id
            if settings.client_secret:
                form["client_secret"] = settings.client_secret
        try:
            answer = await self._request("POST", metadata.token_endpoint, form, auth)
        except _WrongStatusError as error:
            if _oauth_error(error.body) == "invalid_grant":
                raise SignInRefusedError(Refused.CODE) from None
            why = f"no tokens, {error}"
            raise _unavailable(why) from None
        return _decoded(answer, _Tokens).id_token

    async def verified_claims(self, id_token: str, nonce: str, now_ms: int) -> Claims:
        """The claims of an ID token; for an unknown key the provider's keys are asked for once more.

        Raises:
            SignInRefusedError: it cannot be accepted.
            ProviderUnavailableError: as `keys`.
        """
        settings = self.settings
        expected = Expected(settings.issuer, settings.client_id, nonce, settings.clock_skew_s)
        try:
            return verified_claims(id_token, await self.keys(), expected, now_ms)
        except SignInRefusedError as error:
            if error.why is not Refused.KEY:
                raise
        return verified_claims(id_token, await self.keys(anew=True), expected, now_ms)

    async def _ask(self, method: str, url: str) -> bytes:
        try:
            return await self._request(method, url)
        except _WrongStatusError as error:
            raise _unavailable(str(error)) from None

    async def _request(
        self, method: str, url: str, form: Mapping[str, str] | None = None, auth: httpx.Auth | None = None
    ) -> bytes:
        """The body of an answer with status 200."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S), self._new_client() as client:
                sent = client.build_request(method, url, data=form, headers={"accept": "application/json"})
                answer = await client.send(sent, auth=auth, stream=True, follow_redirects=False)
                body = bytearray()
                async for chunk in answer.aiter_bytes():
                    body += chunk
                    if len(body) > _LARGEST_ANSWER:
                        message = "too large an answer"
                        raise _unavailable(message)
                await answer.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise _unavailable(type(error).__name__) from None
        if answer.status_code != httpx.codes.OK:
            raise _WrongStatusError(answer.status_code, bytes(body))
        return bytes(body)


def _unavailable(why: str) -> ProviderUnavailableError:
    """Say in the log, in our own words, what is wrong with the provider."""
    logger.warning("the identity provider gives no usable answer: %s", why)
    return ProviderUnavailableError(why)


def _decoded(body: bytes, kind: type[Answer]) -> Answer:
    """An answer as what it should be.

    Raises:
        ProviderUnavailableError: it is something else.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, RecursionError):
        message = "an answer of another form"
        raise _unavailable(message) from None


def _oauth_error(body: bytes) -> str:
    """The code of an error of RFC 6749, section 5.2; empty where it is none."""
    try:
        return msgspec.json.decode(body, type=_OAuthError).error
    except msgspec.DecodeError:
        return ""


def _public_key(listed: dict[str, object]) -> Key | None:
    """A published key that signatures can be checked with; others are none of ours."""
    if listed.get("use", "sig") != "sig" or listed.get("kty") not in _KEY_TYPES:
        return None
    try:
        return import_key(cast("dict[str, Any]", listed))
    except (JoseError, ValueError, TypeError):
        return None


def _with_query(address: str, fields: Mapping[str, str]) -> str:
    """An address with fields behind those that it may have already."""
    return f"{address}{'&' if urlsplit(address).query else '?'}{urlencode(fields)}"
