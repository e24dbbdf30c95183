"""ID tokens: OpenID Connect Core 1.0, section 3.1.3.7. Pure: token, keys, what is expected and the time in; claims out.

Signatures are joserfc's. What it is asked for is narrow: one key, chosen by the token's `kid`, and the algorithms of
`ALGORITHMS`, all of them with a public key; `none` and the HMACs, with which a public key could be passed off as a
shared one, are not among them.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from joserfc import jws, jwt
from joserfc.errors import BadSignatureError, JoseError
from joserfc.jwk import Key, KeySet

from api.errors import SignInRefusedError
from api.oidc.refused import Refused

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
# Between a person's password and our look at the token lie seconds; whatever is older was kept for later.
OLDEST_S = 600
LONGEST_TOKEN = 32 * 1024
LONGEST_SUBJECT = 255

Claims = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Expected:
    """What an ID token must say.

    Attributes:
        issuer: who issued it.
        client_id: for whom.
        nonce: for which sign-in.
        clock_skew_s: by how much the issuer's clock may differ from ours.
    """

    issuer: str
    client_id: str
    nonce: str
    clock_skew_s: int


def verified_claims(token: str, keys: KeySet, expected: Expected, now_ms: int) -> Claims:
    """The claims of an ID token that is what we expect.

    Args:
        token: in compact form.
        keys: what the issuer publishes.
        expected: what it must say.
        now_ms: UTC epoch milliseconds.

    Raises:
        SignInRefusedError: it is not; `Refused.KEY` where another look at the issuer's keys may help.
    """
    if len(token) > LONGEST_TOKEN:
        raise SignInRefusedError(Refused.MALFORMED)
    key = _key_of(token, keys)
    try:
        claims = jwt.decode(token, key, algorithms=ALGORITHMS, registry=_registry()).claims
    except BadSignatureError:
        raise SignInRefusedError(Refused.SIGNATURE) from None
    except (JoseError, ValueError, TypeError, RecursionError):
        raise SignInRefusedError(Refused.MALFORMED) from None
    _check_parties(claims, expected)
    _check_times(claims, expected.clock_skew_s, now_ms / 1000)
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), expected.nonce.encode()):
        raise SignInRefusedError(Refused.NONCE)
    return claims


def _registry() -> jws.JWSRegistry:
    # Headers that nobody knows are ignored, as RFC 7515 has it; those named in `crit` are not.
    return jws.JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)


def _key_of(token: str, keys: KeySet) -> Key:
    """The key that a token says it is signed with."""
    try:
        header = jws.extract_compact(token.encode(), registry=_registry()).headers()
    except (JoseError, ValueError, TypeError, RecursionError):
        raise SignInRefusedError(Refused.MALFORMED) from None
    if header.get("alg") not in ALGORITHMS:
        raise SignInRefusedError(Refused.ALGORITHM)
    try:
        return keys.get_by_kid(header.get("kid"))
    except JoseError:
        raise SignInRefusedError(Refused.KEY) from None


def _check_parties(claims: Claims, expected: Expected) -> None:
    """By whom, for whom, about whom."""
    if claims.get("iss") != expected.issuer:
        raise SignInRefusedError(Refused.ISSUER)
    audience = claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list) or expected.client_id not in audiences:
        raise SignInRefusedError(Refused.AUDIENCE)
    # With several audiences it must say which of them asked; where it says so it must be us.
    asked = claims.get("azp", expected.client_id if len(audiences) == 1 else None)
    if asked != expected.client_id:
        raise SignInRefusedError(Refused.AUDIENCE)
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 1 <= len(subject) <= LONGEST_SUBJECT:
        raise SignInRefusedError(Refused.MALFORMED)


def _check_times(claims: Claims, skew_s: int, now_s: float) -> None:
    """Issued a moment ago, and not ended."""
    issued_s, ends_s = _time_of(claims, "iat"), _time_of(claims, "exp")
    begins_s = _time_of(claims, "nbf") if "nbf" in claims else issued_s
    if ends_s + skew_s <= now_s or max(issued_s, begins_s) - skew_s > now_s or issued_s + OLDEST_S + skew_s < now_s:
        raise SignInRefusedError(Refused.TIME)


def _time_of(claims: Claims, name: str) -> float:
    """A claim in seconds since 1970."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SignInRefusedError(Refused.MALFORMED)
    return value
