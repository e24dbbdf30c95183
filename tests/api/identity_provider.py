"""A small OpenID provider for tests: it keeps to the protocol, and lies where it is told to."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

import httpx
from fastapi import FastAPI, Request, Response
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse

CLIENT_ID, CLIENT_SECRET = "fraud-desk", "not so: secret & fixed"
ISSUER = "https://id.bank.test/realms/staff"
Claims = dict[str, Any]


def _ours(claims: Claims) -> Claims:
    return claims


@dataclass
class IdentityProvider:
    """One person's sign-in, without asking for a password.

    Attributes:
        issuer: what it calls itself.
        now_s: its clock.
        claims: what it says of the person.
        alter: changes the claims of an ID token before it is signed.
        sign: makes a token of header and claims; None signs with the newest key.
        is_away: answers 503 to everything.
        states_sign_out: whether its discovery document names a place to sign out at.
    """

    issuer: str = ISSUER
    now_s: Callable[[], float] = time.time
    claims: Claims = field(default_factory=lambda: {"preferred_username": "Ann@bank.test", "groups": ["fraud-senior"]})
    alter: Callable[[Claims], Claims] = _ours
    sign: Callable[[Claims], str] | None = None
    is_away: bool = False
    states_sign_out: bool = True
    asked: list[str] = field(default_factory=list)
    signed_out: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keys = [new_key("key-1")]
        self.published = list(self.keys)
        self._codes: dict[str, dict[str, str]] = {}

    def rotate(self) -> None:
        """Sign with a new key from now on, and publish it alone."""
        self.keys.append(new_key(f"key-{len(self.keys) + 1}"))
        self.published = self.keys[-1:]

    def app(self) -> FastAPI:
        """It, over HTTP."""
        app = FastAPI(openapi_url=None)
        prefix = "/realms/staff"
        app.add_api_route(f"{prefix}/.well-known/openid-configuration", self._discovery)
        app.add_api_route(f"{prefix}/keys", self._keys)
        app.add_api_route(f"{prefix}/authorize", self._authorize)
        app.add_api_route(f"{prefix}/token", self._token, methods=["POST"])
        app.add_api_route(f"{prefix}/end", self._end)
        app.middleware("http")(self._watch)
        return app

    def authorized(self, address: str) -> dict[str, str]:
        """What a browser that signs in at this address brings back."""
        query = dict(parse_qsl(httpx.URL(address).query.decode()))
        code = secrets.token_urlsafe(16)
        self._codes[code] = query
        return {"code": code, "state": query["state"]}

    async def _watch(self, request: Request, call_next: Any) -> Response:
        self.asked.append(request.url.path.rpartition("/")[2])
        answer: Response = Response(status_code=503) if self.is_away else await call_next(request)
        return answer

    async def _discovery(self) -> Response:
        document = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
        }
        return JSONResponse(document | ({"end_session_endpoint": f"{self.issuer}/end"} if self.states_sign_out else {}))

    async def _keys(self) -> Response:
        others = [{"kty": "unheard-of", "kid": "x"}, {"kty": "oct", "k": "c2VjcmV0", "kid": "y"}]
        return JSONResponse({"keys": [*others, *(key.as_dict(private=False) for key in self.published)]})

    async def _authorize(self, request: Request) -> Response:
        """A page with one button, as a person would see it; it begins where they are not signed in yet."""
        query = str(request.url.query)
        if request.cookies.get("provider"):
            return self._back(query)
        if "person" in request.query_params:
            response = self._back(query)
            response.set_cookie("provider", "ann", httponly=True, samesite="lax")
            return response
        page = f'<!doctype html><title>Bank</title><a id="ann" href="authorize?{query}&amp;person=ann">I am Ann</a>'
        return HTMLResponse(page.replace("&amp;", "&").replace("&", "&amp;"))

    def _back(self, query: str) -> Response:
        answer = self.authorized(f"{self.issuer}/authorize?{query}")
        asked = dict(parse_qsl(query))
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(answer)}", status_code=303)

    async def _token(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        basic = base64.b64decode(request.headers.get("authorization", "").removeprefix("Basic ")).decode()
        wanted = urlencode({CLIENT_ID: CLIENT_SECRET}).replace("+", "%20").replace("=", ":", 1)
        if basic != wanted:
            return JSONResponse({"error": "invalid_client"}, status_code=401)
        asked = self._codes.pop(form.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        is_right = (
            asked is not None
            and asked["code_challenge_method"] == "S256"
            and asked["code_challenge"] == challenge.rstrip(b"=").decode()
            and asked["redirect_uri"] == form.get("redirect_uri")
        )
        if asked is None or not is_right:
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        return JSONResponse({"token_type": "Bearer", "access_token": "x", "id_token": self._id_token(asked["nonce"])})

    def _id_token(self, nonce: str) -> str:
        now_s = int(self.now_s())
        claims = self.alter(
            {"iss": self.issuer, "aud": CLIENT_ID, "sub": "4711", "nonce": nonce, "iat": now_s, "exp": now_s + 300}
            | self.claims
        )
        return self.sign(claims) if self.sign else signed(claims, self.keys[-1])

    async def _end(self, request: Request) -> Response:
        self.signed_out.append(dict(request.query_params))
        response = RedirectResponse(request.query_params["post_logout_redirect_uri"], status_code=303)
        response.delete_cookie("provider")
        return response


def new_key(kid: str) -> RSAKey:
    """A key to sign with."""
    return RSAKey.generate_key(2048, {"kid": kid, "use": "sig", "alg": "RS256"})


def signed(claims: Claims, key: RSAKey, **header: str) -> str:
    """A token."""
    return jwt.encode({"alg": "RS256", "kid": str(key.kid)} | header, claims, key)
