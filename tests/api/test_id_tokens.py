"""ID tokens and return addresses under arbitrary input: refused in one way, or right."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import KeySet

from api.errors import SignInRefusedError
from api.oidc.sign_ins import return_path
from api.oidc.tokens import Expected, verified_claims
from tests.api.identity_provider import CLIENT_ID, ISSUER, new_key, signed
from tests.api.support import NOW_MS

KEY = new_key("key-1")
KEYS = KeySet([KEY])
NONCE = "n-0123456789"
EXPECTED = Expected(ISSUER, CLIENT_ID, NONCE, 60)
RIGHT = {
    "iss": ISSUER, "aud": CLIENT_ID, "sub": "4711", "nonce": NONCE, "iat": NOW_MS // 1000, "exp": NOW_MS // 1000 + 300,
}  # fmt: skip
TOKEN = signed(RIGHT, KEY)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


def test_the_right_token_is_taken() -> None:
    """What the other tests change is right as it stands."""
    assert verified_claims(TOKEN, KEYS, EXPECTED, NOW_MS) == RIGHT


@given(st.integers(0, len(TOKEN) - 1), st.characters(codec="ascii"))
def test_no_other_letter_anywhere(place: int, letter: str) -> None:
    """Whatever letter is changed, the token is refused, or says the very same: base64 has spare bits."""
    changed = TOKEN[:place] + letter + TOKEN[place + 1 :]
    try:
        claims = verified_claims(changed, KEYS, EXPECTED, NOW_MS)
    except SignInRefusedError:
        return
    assert claims == RIGHT


@given(st.text(max_size=200) | st.builds(".".join, st.lists(st.text(max_size=40), min_size=3, max_size=3)))
def test_any_text_is_refused(text: str) -> None:
    """Never another error."""
    with pytest.raises(SignInRefusedError):
        verified_claims(text, KEYS, EXPECTED, NOW_MS)


@settings(deadline=None)
@given(st.sampled_from(sorted(RIGHT)), JSON)
def test_any_claim_is_refused(name: str, value: object) -> None:
    """A signed token with anything else in a claim that must be right: never another error, never taken."""
    if value == RIGHT[name] or (name == "sub" and isinstance(value, str) and value):
        return
    near = range(NOW_MS // 1000 - 700, NOW_MS // 1000 + 62) if name == "iat" else ()
    if isinstance(value, int | float) and (name == "exp" or value in near):
        return
    with pytest.raises(SignInRefusedError):
        verified_claims(signed(RIGHT | {name: value}, KEY), KEYS, EXPECTED, NOW_MS)


@given(st.text(max_size=80) | st.builds("/console{}".format, st.text(max_size=40)))
def test_nobody_is_sent_elsewhere(asked: str) -> None:
    """As a browser resolves it, the address is one of the console, on this host, and can stand in a header."""
    to = return_path(asked)
    there = urlsplit(urljoin("https://desk.bank.example/console/sign-in", to))
    assert there.netloc == "desk.bank.example"
    assert there.path == "/console" or there.path.startswith("/console/")
    assert not there.path.startswith("/console/sign")
    assert to.isascii()
    assert to.isprintable()
