"""Links of cardholders: nobody else makes one, none outlives its end or serves another purpose."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casework.errors import ConfigurationError, LinkError
from casework.links import LONGEST_LINK, Link, Links, Purpose
from tests.casework.examples import CODE_KEY, NOW_MS

CASE_ID = "case-2b4-e79a500abb271202d6cc1a66"
LINKS = Links(CODE_KEY)
END_S = NOW_MS // 1000 + 3600
PURPOSES = st.sampled_from(Purpose)


@given(st.integers(1, 10**11), PURPOSES, st.integers(-(10**9), 10**9))
def test_a_link_is_read_as_it_was_signed_until_its_end(end_s: int, purpose: Purpose, ahead_ms: int) -> None:
    """To the millisecond; it is short enough for a text message."""
    link = Link(CASE_ID, purpose, end_s)
    text = LINKS.sign(link)
    assert len(text) <= LONGEST_LINK
    now_ms = end_s * 1000 - ahead_ms
    if ahead_ms > 0:
        assert LINKS.read(text, purpose, now_ms) == link
    else:
        with pytest.raises(LinkError, match="ended"):
            LINKS.read(text, purpose, now_ms)


@given(st.data())
def test_no_changed_link_is_read(data: st.DataObject) -> None:
    """Whatever single character is changed, left out or put in."""
    text = LINKS.sign(Link(CASE_ID, Purpose.ANSWER, END_S))
    place = data.draw(st.integers(0, len(text) - 1))
    put = data.draw(st.text(max_size=2))
    changed = text[:place] + put + text[place + data.draw(st.integers(0, 1)) :]
    if changed != text:
        with pytest.raises(LinkError):
            LINKS.read(changed, Purpose.ANSWER, NOW_MS)


@given(st.text(max_size=200), PURPOSES)
def test_no_text_is_a_link(text: str, purpose: Purpose) -> None:
    """Whatever is sent, the answer is a refusal and no failure."""
    with pytest.raises(LinkError):
        LINKS.read(text, purpose, NOW_MS)


def test_a_link_serves_one_purpose_and_one_installation() -> None:
    """A longer end or another case needs another signature, and so does another secret."""
    text = LINKS.sign(Link(CASE_ID, Purpose.ANSWER, END_S))
    with pytest.raises(LinkError, match="something else"):
        LINKS.read(text, Purpose.SETTINGS, NOW_MS)
    with pytest.raises(LinkError):
        Links(b"x" * 32).read(text, Purpose.ANSWER, NOW_MS)
    with pytest.raises(LinkError):
        LINKS.read(text.replace(str(END_S), str(END_S + 1)), Purpose.ANSWER, NOW_MS)
    with pytest.raises(ConfigurationError):
        Links(b"short")
