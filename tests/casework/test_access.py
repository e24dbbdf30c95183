"""The event of who saw or changed what."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from casework.access import MOST_NAMED_CARDS, Access, AccessTo
from casework.authority import Person, Role

ACCESS = Access(
    by=Person("ann", Role.AGENT), to=AccessTo.CASE, is_write=False, card_tokens=("card-1", "card-2"), case_id="case-1",
    route="GET /v1/cases/{case_id}", request_id="r1", trace_id=None, time_ms=1_760_000_000_000,
)  # fmt: skip


def test_it_says_who_what_when_and_from_where() -> None:
    """Person, role, cards, case, time, route and request; the trace only where there is one."""
    (message,) = ACCESS.messages()
    assert (message.topic, message.key, message.headers["ce_type"]) == (
        "cardwatch.access.v1", "ann", "cardwatch.access.read",
    )  # fmt: skip
    assert json.loads(message.value) == {
        "access": "read", "to": "case", "actor": "ann", "role": "agent", "time_ms": 1_760_000_000_000,
        "card_tokens": ["card-1", "card-2"], "cards_not_named": 0, "case_id": "case-1",
        "route": "GET /v1/cases/{case_id}", "request_id": "r1",
    }  # fmt: skip
    (traced,) = replace(ACCESS, trace_id="a" * 32, is_write=True).messages()
    assert (json.loads(traced.value)["trace_id"], json.loads(traced.value)["access"]) == ("a" * 32, "write")


def test_told_twice_it_is_one() -> None:
    """The id follows from the request and what it was about: a copy has it as well, and nothing else does."""
    ids = [
        message.headers["ce_id"]
        for access in (ACCESS, ACCESS, replace(ACCESS, request_id="r2"), replace(ACCESS, to=AccessTo.NOTICES))
        for message in access.messages()
    ]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


@given(st.lists(st.text(min_size=1, max_size=64), min_size=1, max_size=600, unique=True))
def test_it_is_bounded_and_loses_no_count(tokens: list[str]) -> None:
    """The first so many cards are named, the others counted."""
    (message,) = replace(ACCESS, card_tokens=tuple(tokens)).messages()
    body = json.loads(message.value)
    assert body["card_tokens"] == tokens[:MOST_NAMED_CARDS]
    assert len(body["card_tokens"]) + body["cards_not_named"] == len(tokens)
