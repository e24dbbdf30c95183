"""Who saw or changed what of cards is told, by every route that shows or changes something of one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from api.app import ROUTERS
from api.roles import Role
from casework.access import Access
from casework.adapters.memory_notices import MemoryNotices
from casework.cases import Case
from casework.desk import Desk
from casework.errors import StoreFullError
from casework.history import HistoryFilters, HistoryPage
from casework.links import Link, Links, Purpose
from casework.outbox import ACCESS_TOPIC
from tests.api.support import CODE_KEY, NOW_MS, Memory, Scoring, alert, world
from tests.api.test_console import form_of, hidden, sign_in
from tests.contracts.test_desk import bodies, drain

CARD, OTHER_CARD, NEW_CARD = "tok_3fa85f6457174562", "tok_other", "tok_new"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"
LINKS = Links(CODE_KEY)
OPENING = {
    "card_token": NEW_CARD, "kind": "lost_or_stolen", "channel": "phone", "details": {"circumstance": "lost"},
    "note": "On the train.",
}  # fmt: skip
NOTE = {"actions": [{"do": "note", "text": "Called."}]}
LISTING = {"effect": "watch", "subject": "card", "value": CARD, "reason": "Seen twice.", "until_ms": NOW_MS + 3_600_000}
CONTACT = {"locale": "en", "channels": ["app"], "email": None, "time_zone": "Asia/Manila"}
OVERRIDE = {"disposition": "confirmed_fraud", "card_action": "keep", "note": "Not theirs."}


@dataclass(frozen=True)
class Call:
    """How a route that shows or changes something of a card is called.

    Attributes:
        role: who calls it; of the console, who has signed in.
        to: what the event must say it was.
        access: whether it must say read or write.
        json: the body of a machine.
        form: the form of a page, its tokens aside; "override" stands for the form of the case page.
        cards: of which cards the event must speak.
    """

    role: Role
    to: str
    access: str = "read"
    json: dict[str, Any] | None = None
    form: dict[str, str] = field(default_factory=dict)
    cards: tuple[str, ...] = (CARD,)


AGENT, SENIOR, LEAD, HOLDER = Role.AGENT, Role.SENIOR_AGENT, Role.SUPERVISOR, Role.CARDHOLDER
CALLS: dict[str, Call] = {
    "GET /v1/cards/{card_token:card_token}": Call(Role.PAYMENT_SYSTEM, "card"),
    "POST /v1/cards/{card_token:card_token}/freeze": Call(AGENT, "card", "write", {"reason": "Lost."}),
    "POST /v1/cards/{card_token:card_token}/unfreeze": Call(SENIOR, "card", "write", {"reason": "Found."}),
    "GET /v1/cases": Call(AGENT, "cases", cards=(CARD, OTHER_CARD)),
    "GET /v1/cases/{case_id}": Call(AGENT, "case"),
    "GET /v1/cases/{case_id}/related": Call(AGENT, "related_cases", cards=(OTHER_CARD,)),
    "POST /v1/cases/{case_id}/override": Call(SENIOR, "case", "write", OVERRIDE),
    "POST /v1/cases": Call(AGENT, "case", "write", OPENING, cards=(NEW_CARD,)),
    "POST /v1/cases/next": Call(AGENT, "case", "write"),
    "POST /v1/cases/{case_id}/actions": Call(AGENT, "case", "write", NOTE),
    "POST /v1/cases/{case_id}/preview": Call(AGENT, "case", "read", NOTE),
    "GET /v1/cases/{case_id}/notices": Call(AGENT, "notices"),
    "GET /v1/contacts/{card_token:card_token}": Call(AGENT, "contact"),
    "PUT /v1/contacts/{card_token:card_token}": Call(AGENT, "contact", "write", CONTACT),
    "GET /v1/history": Call(AGENT, "closed_cases"),
    "GET /v1/lists": Call(AGENT, "lists"),
    "POST /v1/lists": Call(LEAD, "lists", "write", LISTING),
    "GET /console": Call(AGENT, "cases", cards=(CARD, OTHER_CARD)),
    "GET /console/cases/{case_id}": Call(AGENT, "case", cards=(CARD, OTHER_CARD)),
    "POST /console/cases/{case_id}/override": Call(SENIOR, "case", "write", form={"card_action": "keep"}),
    "POST /console/cases/{case_id}/act": Call(AGENT, "case", "write", form={"do": "note", "f.text": "Called."}),
    "POST /console/next": Call(AGENT, "case", "write"),
    "POST /console/new": Call(
        AGENT, "case", "write", cards=(NEW_CARD,),
        form={"card_token": NEW_CARD, "channel": "phone", "note": "Lost.", "detail.circumstance": "lost"},
    ),
    "GET /console/lists": Call(AGENT, "lists"),
    "POST /console/lists": Call(
        LEAD, "lists", "write",
        form={"effect": "watch", "subject": "card", "value": CARD, "reason": "Seen.", "hours": "2"},
    ),
    "GET /console/history": Call(AGENT, "closed_cases"),
    "GET /console/shift": Call(LEAD, "shift"),
    "GET /s/{visit}": Call(HOLDER, "own_case"),
    "POST /s/{visit}/answer": Call(
        HOLDER, "own_case", "write", form={"mine": "yes", "transaction_id": "tx-000001", "code": ""}
    ),
    "POST /s/{visit}/code": Call(HOLDER, "own_case", "write"),
    "POST /s/{visit}/lost": Call(HOLDER, "own_case", "write"),
    "GET /s/{visit}/settings": Call(HOLDER, "own_case"),
    "POST /s/{visit}/settings": Call(HOLDER, "own_case", "write", form={"locale": "en", "channel": "app"}),
}  # fmt: skip

# These show nothing of a card, and why; an address among them that can be read is read, to see that it does not.
SHOW_NO_CARD = {
    "GET /v1/breakers": "circuit breakers by version of the policy",
    "POST /v1/breakers/{policy_version}/release": "the same; told to cardwatch.audit.v1",
    "POST /v1/transactions": "a payment and its decision, which topics hold, to the system that brought it",
    "POST /v1/transactions/bulk": "the same",
    "GET /v1/history/statistics": "counts",
    "GET /v1/webhooks": "endpoints of webhooks, and how it goes with each",
    "GET /v1/webhooks/{endpoint}/events": "ids and kinds of events, and what became of them; no card, no case",
    "POST /v1/webhooks/{endpoint}/enable": "the endpoint; told to cardwatch.audit.v1",
    "GET /v1/webhooks/{endpoint}/replay": "which events, by id or time, and counts",
    "POST /v1/webhooks/{endpoint}/replay": "the same; told to cardwatch.audit.v1",
    "POST /v1/webhooks/{endpoint}/replay/cancel": "the same; told to cardwatch.audit.v1",
    "GET /livez": "one word",
    "GET /startupz": "one word",
    "GET /readyz": "names of dependencies",
    "GET /metrics": "counts",
    "GET /console/sign-in": "the way in",
    "POST /console/sign-in": "the way in",
    "GET /console/sign-in/provider": "the way in",
    "GET /console/sign-in/callback": "the way in",
    "POST /console/sign-out": "the way out",
    "GET /console/console.css": "a style sheet",
    "GET /console/console.js": "a script",
    "GET /console/icon.svg": "a picture",
    "POST /console/language": "a preference of the browser",
    "POST /console/views": "a preference of the browser",
    "GET /console/events": "that the queue has changed, not how; it does not end, so it is not read here",
    "GET /console/new": "an empty form",
    "GET /console/figures": "counts",
    "GET /s/page.css": "a style sheet",
}


def routes() -> Iterator[str]:
    """Method and template of every route."""
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            for method in sorted(route.methods or ()):
                yield f"{method} {route.path}"


class Closed(Memory):
    """A memory of closed cases that remembers one."""

    def __init__(self) -> None:
        self.cases: list[Case] = []

    def find(self, _filters: HistoryFilters, _cursor: str | None, _limit: int) -> HistoryPage:
        """See `History`."""
        return HistoryPage(tuple(self.cases), None)


class Site:
    """Two cards with a case each at the same merchant, one of them on a list, and everything that can be looked at."""

    def __init__(self) -> None:
        remembered, self.notices = Closed(), MemoryNotices()
        self.world = world(history=remembered, notices=self.notices, links=LINKS, scoring=Scoring())
        self._heard: set[str] = set()
        self.case_id, _ = self.world.respond(alert(1), alert(2, card_token=OTHER_CARD, action="REVIEW"))
        self.world.verify(str(self.case_id))
        answer = self.world.client.post("/v1/lists", role=LEAD, json=LISTING)
        assert answer.status_code == 200, answer.text
        remembered.cases.append(asyncio.run(self.world.desk.case(str(self.case_id))).case)
        self.told()

    def told(self) -> list[dict[str, Any]]:
        """Events of who saw or changed what since the last call."""
        events = bodies(asyncio.run(drain(self.world.desk)), ACCESS_TOPIC)
        new = [event for event in events if event["request_id"] not in self._heard]
        self._heard |= {event["request_id"] for event in new}
        return new

    def prepared(self, route: str, call: Call) -> Callable[[], httpx.Response]:
        """A request of a route as its caller makes it, with a trace context; pages have been read for their forms."""
        method, _, template = route.partition(" ")
        purpose = Purpose.SETTINGS if "settings" in template else Purpose.ANSWER
        link = LINKS.sign(Link(str(self.case_id), purpose, NOW_MS // 1000 + 3_600))
        places = {
            "card_token:card_token": CARD,
            "case_id": str(self.case_id),
            "visit": link,
            "policy_version": "p-1",
            "endpoint": "bank",
        }
        path = re.sub(r"\{([^}]+)\}", lambda place: places[place[1]], template)
        options: dict[str, Any] = {"headers": {"traceparent": TRACEPARENT}}
        if template.startswith("/console"):
            sign_in(self.world, call.role)
            if template.endswith("/shift"):
                # It names cases that somebody works on.
                taking = {"actions": [{"do": "take"}]}
                assert self.world.client.post(f"/v1/cases/{self.case_id}/actions", role=LEAD, json=taking).is_success
            options |= {"data": self._form(call, template)} if method == "POST" else {}
            options |= {"params": {"kind": "lost_or_stolen"}} if template == "/console/new" else {}
        elif template.startswith("/s/"):
            options |= {"data": {"idempotency_key": "once"} | call.form} if method == "POST" else {}
        else:
            options |= {"role": call.role, "json": call.json}
        self.told()
        return lambda: self.world.client.request(method, path, **options)

    def _form(self, call: Call, template: str) -> dict[str, str]:
        if template.endswith("/override"):
            return form_of(self.world.client.get(f"/console/cases/{self.case_id}").text, **call.form)
        page = self.world.client.get(f"/console/cases/{self.case_id}").text
        return {name: hidden(page, name) for name in ("form_token", "idempotency_key", "version")} | call.form


def test_every_route_is_accounted_for() -> None:
    """A new route says here how it is called and what it must tell, or why it shows nothing of a card."""
    assert set(CALLS) | set(SHOW_NO_CARD) == set(routes())
    assert not set(CALLS) & set(SHOW_NO_CARD)


@pytest.mark.parametrize("route", CALLS)
def test_who_saw_or_changed_what_is_told(route: str) -> None:
    """One event, with the person, the role, the cards, the request and its trace."""
    site, call = Site(), CALLS[route]
    answer = site.prepared(route, call)()
    assert answer.status_code in {200, 303}, answer.text
    (event,) = site.told()
    actor = "cardholder" if call.role is HOLDER else call.role.value
    assert (event["actor"], event["role"], event["to"], event["access"], event["route"]) == (
        actor, call.role.value, call.to, call.access, route,
    )  # fmt: skip
    assert set(event["card_tokens"]) == set(call.cards)
    assert event["cards_not_named"] == 0
    assert (event["request_id"], event["trace_id"]) == (answer.headers["x-request-id"], TRACE_ID)
    assert event["time_ms"] == NOW_MS
    if "{case_id}" in route or route.startswith(("GET /s", "POST /s")):
        assert event["case_id"] == site.case_id


@pytest.mark.parametrize("route", CALLS)
def test_nothing_is_shown_that_cannot_be_told(route: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the event cannot be kept the answer is that of a store that refuses, without a word of any card."""
    site = Site()
    request = site.prepared(route, CALLS[route])

    async def refuse(_desk: Desk, _access: Access) -> None:
        raise StoreFullError

    monkeypatch.setattr(Desk, "tell_access", refuse)
    answer = request()
    assert answer.status_code == 503
    for name in (CARD, OTHER_CARD, NEW_CARD, str(site.case_id)):
        assert name not in answer.text
    if route.startswith("PUT /v1/contacts"):
        assert asyncio.run(site.notices.contact(CARD)) is None


@pytest.mark.parametrize(
    "route", [route for route in SHOW_NO_CARD if route.startswith("GET") and "events" not in route]
)
def test_what_is_said_to_show_no_card_shows_none(route: str) -> None:
    """Neither its token nor its case is in the answer, and so there is nothing to tell."""
    site = Site()
    answer = site.prepared(route, Call(LEAD, ""))()
    assert answer.status_code < 500, answer.text
    for name in (CARD, OTHER_CARD, str(site.case_id)):
        assert name not in answer.text
    assert site.told() == []
