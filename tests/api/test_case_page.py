"""What the case page is made of: payments and their picture, the target, macros, and the language."""

from __future__ import annotations

import asyncio
import html
import re

import pytest

from api.console import spending
from api.console.case_page import target_of
from api.console.macro_choices import macro_choices
from api.console.rendering import LANGUAGE_NAMES
from api.roles import Role
from casework.authority import Person
from tests.api.support import NOW_MS, World, alert, language, payment
from tests.api.test_console import sign_in

RATES = {"EUR": 1.0, "JPY": 0.6}


def test_payments_of_all_alerts_are_there_once(world: World) -> None:
    """Oldest first; a payment that two alerts list, and one that only an alert is about."""
    first = [payment(1, NOW_MS - 9_000), payment(2, NOW_MS - 5_000)]
    case_id = world.open_case(2, event_time_ms=NOW_MS - 5_000, amount_minor=2_500, last_payments=first)
    world.respond(alert(3, event_time_ms=NOW_MS, amount_minor=90_000, last_payments=first[1:]))
    paid = spending.payments_of(asyncio.run(world.desk.case(case_id)))
    assert [each["event_time_ms"] for each in paid] == [NOW_MS - 9_000, NOW_MS - 5_000, NOW_MS]
    assert paid[-1]["merchant_id"] == "mrc_0917_electronics"


def test_the_picture_compares_amounts_across_currencies(world: World) -> None:
    """By the rates; the usual amount is that of other payments; what cannot be compared is seen all the same."""
    case_id = world.open_case(9, event_time_ms=NOW_MS, amount_minor=10_000, currency="JPY", last_payments=[])
    alerts = asyncio.run(world.desk.case(case_id)).alerts
    paid = [
        payment(1, 1, amount_minor=1_000), payment(2, 2, amount_minor=3_000), payment(3, 3, currency="XTS"),
        payment(9, NOW_MS, amount_minor=10_000, currency="JPY", country="JP"),
    ]  # fmt: skip
    picture = spending.spending_of(paid, alerts, RATES)
    assert [bar.is_alerted for bar in picture.bars] == [False, False, False, True]
    low, middle, unknown, highest = (bar.height for bar in picture.bars)
    assert (highest, round(middle / highest, 2), round(low / highest, 2)) == (spending.FLOOR, 0.5, 0.17)
    assert 0 < unknown < low
    assert picture.times_usual == pytest.approx(3.0)
    assert [bar.place for bar in picture.bars] == ["DE", "", "", "JP"]
    without_rates = spending.spending_of(paid, alerts, {})
    assert (without_rates.usual_y, without_rates.times_usual) == (None, None)
    assert spending.spending_of([], (), RATES).bars == []


def test_what_is_left_of_a_target(world: World) -> None:
    """It shrinks, warns, and is missed; a closed case has none."""
    case_id = world.open_case()
    case = asyncio.run(world.desk.case(case_id)).case
    lines = [target_of(case, language(), NOW_MS + minutes * 60_000) for minutes in (0, 6, 13, 20)]
    assert [line and (line.percent, line.is_near, line.is_missed) for line in lines] == [
        (100, False, False), (60, False, False), (13, True, False), (0, True, True),
    ]  # fmt: skip
    assert lines[-1] is not None
    assert lines[-1].left == "5 min over"


def test_the_most_telling_alert_comes_first(world: World) -> None:
    """What froze the card before what joined the case later; only it is open."""
    case_id = world.open_case(1)
    world.respond(alert(2, amount_minor=55_500))
    sign_in(world)
    page = world.client.get(f"/console/cases/{case_id}").text
    opened, closed = re.findall(r'<details class="alert"( open)?>.*?<b class="amount">([^<]*)</b>', page, re.DOTALL)
    assert (opened, closed) == ((" open", "1,249.00 EUR"), ("", "555.00 EUR"))


def test_macros_say_what_follows_and_why_not(world: World) -> None:
    """Effects in order, the cardholder's message among them; identity and tier are asked for before, not after."""
    case_id = world.open_case()
    view = asyncio.run(world.desk.case(case_id))
    offered = {
        role: macro_choices(view, Person("a", role), world.desk.authority, world.desk.playbook, language(), NOW_MS)
        for role in (Role.AGENT, Role.SENIOR_AGENT)
    }
    stolen, theirs, asking = offered[Role.SENIOR_AGENT]
    assert [each.key for each in (stolen, theirs, asking)] == ["c", "f", "g"]
    assert stolen.effects == (
        "The models learn: Confirmed fraud", "Block for good. It never pays again.", "The cardholder is told", "Close",
    )  # fmt: skip
    assert "Watch the card for 7 days" in asking.effects
    assert (stolen.why_not, theirs.why_not) == ("", "Verify who they are first.")
    assert offered[Role.AGENT][0].why_not.startswith("Another tier")
    world.verify(case_id)
    verified = asyncio.run(world.desk.case(case_id))
    choices = macro_choices(verified, Person("a", Role.AGENT), world.desk.authority, world.desk.playbook,
                            language("zh"), NOW_MS)  # fmt: skip
    assert choices[1].why_not == ""
    assert "是本人" in choices[1].title


@pytest.mark.parametrize(
    ("fields", "actions", "why_not"),
    [
        ({"amount_minor": 250_001}, [{"do": "verify_seen", "method": "call_back"}], "Another tier may do this"),
        ({}, [{"do": "escalate", "reason": "Too much for me."}], "Another tier may do this"),
        ({}, [{"do": "block", "reason": "The police asked."}], "The card is Blocked: that cannot follow."),
    ],
)
def test_no_macro_is_offered_whose_effects_would_fail(
    world: World, fields: dict[str, int], actions: list[dict[str, str]], why_not: str
) -> None:
    """Beyond an agent's bounds, on another tier, or where the card cannot become that, it says so beforehand."""
    case_id = world.open_case(**fields)
    done = world.client.post(f"/v1/cases/{case_id}/actions", role=Role.SENIOR_AGENT, json={"actions": actions})
    assert done.status_code == 200, done.text
    view, agent = asyncio.run(world.desk.case(case_id)), Person("a", Role.AGENT)
    choices = macro_choices(view, agent, world.desk.authority, world.desk.playbook, language(), NOW_MS)
    assert choices[1].why_not.startswith(why_not)


def test_the_history_speaks_in_words(world: World) -> None:
    """How identity was verified, what the cardholder said, what was ordered: no code of ours is shown to a person."""
    case_id = world.open_case()
    actions = [
        {"do": "verify_seen", "method": "call_back"},
        {"do": "cardholder_answer", "transaction_id": "tx-000001", "mine": False},
        {"do": "reissue", "reason": "Stolen."},
    ]
    done = world.client.post(f"/v1/cases/{case_id}/actions", role=Role.SENIOR_AGENT, json={"actions": actions})
    assert done.status_code == 200, done.text
    sign_in(world)
    page = world.client.get(f"/console/cases/{case_id}").text
    for said in ("Call back", "No", "Order a new card"):
        assert f'<p class="words">{said}</p>' in page
    assert "call_back</p>" not in page


def test_the_fields_of_a_case_are_in_words(world: World) -> None:
    """An amount with its currency, a choice by its name."""
    case_id = world.open_dispute("tok_9")
    sign_in(world)
    page = world.client.get(f"/console/cases/{case_id}").text
    assert "<dt>Amount</dt><dd>49.00 EUR</dd>" in page
    assert "<dd>not_received</dd>" not in page
    assert '<span class="name" aria-hidden="true">At risk </span>–' in world.client.get("/console").text


def test_what_ends_a_dispute_is_no_question_of_fraud(world: World) -> None:
    """The outcomes of its kind stand open; that it was fraud is folded up, and not offered where it cannot be."""
    case_id = world.open_dispute("tok_9")
    opening = {"card_token": "tok_8", "kind": "referral", "details": {"destination": "sales", "handover": "x"},
               "note": "x"}  # fmt: skip
    referral = world.client.post("/v1/cases", role=Role.AGENT, json=opening).json()["case"]["case_id"]
    sign_in(world)
    dispute, other, fraud = (
        world.client.get(f"/console/cases/{each}").text for each in (case_id, referral, world.open_case())
    )
    close_open = re.compile(r'<details class="action" id="do-close"[^>]* open>')
    assert [bool(close_open.search(page)) for page in (dispute, other, fraud)] == [True, True, False]
    assert ['id="override"' in page for page in (dispute, other, fraud)] == [True, False, True]
    assert 'id="one-by-one">' in dispute


def test_of_many_other_cases_few_are_seen_at_first(world: World) -> None:
    """The latest; the others are folded up behind their number, each with what it has in common."""
    case_ids = [world.open_case(number, card_token=f"tok_{number}") for number in range(1, 12)]
    sign_in(world)
    page = world.client.get(f"/console/cases/{case_ids[0]}").text
    seen, _, folded = page.partition("<summary>and 4 more</summary>")
    assert (seen.count("same merchant"), folded.count("same merchant")) == (6, 4)


def test_a_rule_without_weight_says_that_it_is_one(world: World) -> None:
    """No empty bar where a rule asked and no feature seconds it."""
    rule = [{"code": "impossible_travel", "text_key": "impossible_travel", "observed": 900.0, "usual": 0.0,
             "contribution": 0.0}]  # fmt: skip
    case_id = world.open_case(evidence=rule)
    sign_in(world)
    page = world.client.get(f"/console/cases/{case_id}").text
    assert '<small class="muted">a rule</small>' in page
    assert 'class="weight"' not in page


def test_a_pending_macro_can_be_undone_from_its_page(world: World) -> None:
    """The page says so with the time that is left; what was decided is not handed out as the next case."""
    case_id = world.open_case(1)
    other = world.open_case(2, card_token="tok_2", expected_loss_minor=1)
    sign_in(world, Role.SENIOR_AGENT)
    begun = {"actions": [{"do": "macro", "name": "stolen_card", "note": "Not theirs."}]}
    assert world.client.post(f"/v1/cases/{case_id}/actions", role=Role.SENIOR_AGENT, json=begun).status_code == 200
    world.clock.now_ms += 4_000
    page = world.client.get(f"/console/cases/{case_id}").text
    assert 'id="pending" data-left-ms="6000"' in page
    token = re.findall(r'name="form_token" value="([^"]*)"', page)[0]
    following = world.client.post("/console/next", data={"form_token": html.unescape(token)})
    assert following.headers["location"] == f"/console/cases/{other}"


@pytest.mark.parametrize("locale", LANGUAGE_NAMES)
def test_every_page_is_in_the_chosen_language(world: World, locale: str) -> None:
    """The browser remembers it; what is not a language of ours changes nothing; one comes back to where one was."""
    case_id = world.open_case()
    back = {"referer": f"http://cardwatch.test/console/cases/{case_id}/act"}
    chosen = world.client.post("/console/language", data={"to": locale}, headers=back)
    assert chosen.headers["location"] == f"/console/cases/{case_id}"
    assert "HttpOnly" in chosen.headers["set-cookie"]
    elsewhere = {"referer": "http://evil.test/else"}
    ignored = world.client.post("/console/language", data={"to": "xx"}, headers=elsewhere)
    assert (ignored.headers["location"], "set-cookie" in ignored.headers) == ("/console", False)
    sign_in(world)
    title = language(locale).say("layout.cases")
    for path in ("", f"/cases/{case_id}", "/new", "/lists", "/cases/none"):
        page = world.client.get(f"/console{path}").text
        assert f'<html lang="{locale}">' in page
        assert title in page or path == "/cases/none"


def test_the_script_is_cached_by_content(world: World) -> None:
    """Pages load it under an address that changes with it."""
    page = world.client.get("/console/sign-in").text
    (path,) = re.findall(r'src="(/console/console\.js\?v=[0-9a-f]{12})"', page)
    response = world.client.get(path)
    assert response.headers["content-type"].startswith("text/javascript")
    assert "immutable" in response.headers["cache-control"]
