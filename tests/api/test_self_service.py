"""The cardholder's page: what it shows, what each tap does through casework, and whom it lets in."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from api.roles import Role
from casework.adapters.memory_notices import MemoryNotices
from casework.contacts import ContactRecord
from casework.links import Link, Links, Purpose
from casework.verification import code_of
from tests.api.support import CARD_NUMBER, CODE_KEY, NOW_MS, World, alert, world
from tests.contracts.test_desk import bodies, drain

CARD = "tok_3fa85f6457174562"
LINKS = Links(CODE_KEY)
HOUR_S = 3600


class Page:
    """A cardholder with their link."""

    def __init__(self, **alert_fields: Any) -> None:
        self.memory = MemoryNotices()
        self.world: World = world(notices=self.memory, links=LINKS)
        self.case_id = self.world.open_case(**alert_fields)
        self.path = "/s/" + self.link(Purpose.ANSWER)
        self.taps = 0

    def link(self, purpose: Purpose, hours: int = 1) -> str:
        return LINKS.sign(Link(self.case_id, purpose, NOW_MS // 1000 + hours * HOUR_S))

    def tap(self, what: str, **fields: str) -> str:
        """Send one of the page's forms; the page that comes back."""
        self.taps += 1
        form = {"idempotency_key": f"once-{self.taps}"} | fields
        answer = self.world.client.post(f"{self.path}/{what}", data=form)
        assert answer.status_code == 200, answer.text
        return answer.text

    def case(self) -> dict[str, Any]:
        found: dict[str, Any] = self.world.client.get(f"/v1/cases/{self.case_id}", role=Role.AGENT).json()
        return found

    def card_state(self) -> str:
        return str(self.world.client.get(f"/v1/cards/{CARD}", role=Role.AGENT).json()["state"])

    def told(self, topic: str) -> list[dict[str, Any]]:
        return bodies(asyncio.run(drain(self.world.desk)), topic)

    def code(self) -> str:
        return code_of(CODE_KEY, self.told("fraud.notifications.v1")[-1]["parameters"]["code_nonce"])


@pytest.fixture(name="page")
def fixture_page() -> Page:
    return Page()


def said(text: str) -> str:
    found = re.search(r'<p class="said[^>]*>([^<]*)<', text)
    return "" if found is None else found[1]


def test_the_page_says_what_happened_and_nothing_of_how_it_was_judged(page: Page) -> None:
    """The payment, what we did, what happens now, whom to call; no score, reason, token, note or script."""
    answer = page.world.client.get(page.path)
    assert answer.status_code == 200
    assert "EUR 1,249.00" in answer.text
    assert "paused your card" in answer.text
    assert "Call the number on your card" in answer.text
    for hidden in ("0.93", "travel", CARD, "<script", "agent", page.case_id + '"'):
        assert hidden not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'")
    assert answer.headers["cache-control"] == "no-store"


def test_to_look_changes_nothing(page: Page) -> None:
    """Whoever fetches links beforehand, as mail programs do, answers nothing."""
    before = page.case()
    for _ in range(3):
        page.world.client.get(page.path)
    assert page.case() == before


def test_yes_is_a_weak_label_and_no_verification(page: Page) -> None:
    """The card stays paused; the model hears of it with its source."""
    text = page.tap("answer", mine="yes", transaction_id="tx-000001")
    assert said(text).startswith("Thank you. We noted")
    assert "You said: yes" in text
    (label,) = page.told("fraud.labels.v1")
    assert (label["label"], label["source"]) == ("genuine", "cardholder")
    assert page.card_state() == "frozen"
    assert page.case()["timeline"][-1]["actor"] == "cardholder"
    unfreeze = {"actions": [{"do": "unfreeze", "reason": "They say it was them."}]}
    refused = page.world.client.post(f"/v1/cases/{page.case_id}/actions", role=Role.SENIOR_AGENT, json=unfreeze)
    assert refused.json()["type"] == "urn:cardwatch:problem:identity-not-verified"


def prove(page: Page, transaction_id: str = "tx-000001") -> str:
    """Say YES with the right code; the page that comes back."""
    page.tap("code")
    return page.tap("answer", mine="yes", transaction_id=transaction_id, code=page.code())


def test_yes_with_a_code_lets_the_card_pay_again(page: Page) -> None:
    """A wrong code is counted, the right one verifies; the card works at once, and the case stays for a person."""
    assert 'autocomplete="one-time-code"' not in page.world.client.get(page.path).text
    assert said(page.tap("code")).startswith("We have sent you a code")
    code = page.code()
    wrong = "000000" if code != "000000" else "000001"
    assert said(page.tap("answer", mine="yes", transaction_id="tx-000001", code=wrong)).startswith("That code is not")
    assert said(page.tap("answer", mine="yes", transaction_id="tx-000001", code="12ab")).startswith("That code is not")
    assert page.card_state() == "frozen"
    text = page.tap("answer", mine="yes", transaction_id="tx-000001", code=code)
    assert said(text).endswith("Your card works again.")
    assert code not in text
    assert page.card_state() == "active"
    case = page.case()
    assert case["case"]["state"] != "closed"
    assert (case["timeline"][-1]["actor"], case["timeline"][-1]["type"]) == ("cardholder", "card_changed")
    assert page.told("fraud.notifications.v1")[-1]["template"] == "card_active"


@pytest.mark.parametrize(
    "fields", [{"amount_minor": 250_001}, {"score": 0.995}, {"amount_minor": 90_000, "currency": "CHF"}]
)
def test_beyond_the_bounds_of_tier_1_a_person_lets_it_go(fields: dict[str, Any]) -> None:
    """The YES is proven and recorded all the same, so that an agent needs one command and no other question."""
    page = Page(**fields)
    assert said(prove(page)).startswith("Thank you. We know now that it is you. A person")
    assert page.card_state() == "frozen"
    unfreeze = {"actions": [{"do": "unfreeze", "reason": "It was them."}]}
    done = page.world.client.post(f"/v1/cases/{page.case_id}/actions", role=Role.SENIOR_AGENT, json=unfreeze)
    assert done.status_code == 200
    assert page.card_state() == "active"


def test_every_payment_must_be_theirs(page: Page) -> None:
    """One of two proves nothing yet; the other, said without another code, lets the card pay again."""
    page.world.respond(alert(2, card_token=CARD, amount_minor=3_200))
    assert said(prove(page)).endswith("Please answer for the other payments, too.")
    assert page.card_state() == "frozen"
    assert said(page.tap("answer", mine="yes", transaction_id="tx-000002")).endswith("Your card works again.")
    assert page.card_state() == "active"


@pytest.mark.parametrize(
    "action",
    [
        {"do": "escalate", "reason": "Something is odd."},
        {"do": "freeze", "reason": "We wait for the police."},
        {"do": "take"},
    ],
)
def test_people_are_not_overruled(page: Page, action: dict[str, Any]) -> None:
    """Where a person handed the case on, stopped the card, or works on it, the cardholder's YES waits for a person."""
    answer = page.world.client.post(
        f"/v1/cases/{page.case_id}/actions", role=Role.SENIOR_AGENT, json={"actions": [action]}
    )
    assert answer.status_code == 200, answer.text
    assert "A person will look" in said(prove(page))
    assert page.card_state() == "frozen"


def test_another_proof_than_the_code_is_a_persons_business(page: Page) -> None:
    """An agent who called back decides themselves; a YES on the page does nothing more then."""
    page.world.verify(page.case_id)
    page.tap("answer", mine="yes", transaction_id="tx-000001")
    assert page.card_state() == "frozen"


def test_after_a_lost_card_yes_unfreezes_nothing(page: Page) -> None:
    """The card was stopped by its holder: a person confirms that before it works again."""
    page.tap("lost")
    prove(page)
    assert page.card_state() == "frozen"


def test_codes_do_not_flood_a_phone_and_guessing_ends(page: Page) -> None:
    """One code a minute; after the attempts that the playbook allows the code works no more."""
    page.tap("code")
    page.tap("code")
    assert len([n for n in page.told("fraud.notifications.v1") if n["template"] == "verification_code"]) == 1
    page.world.clock.now_ms += 61_000
    page.tap("code")
    assert len([n for n in page.told("fraud.notifications.v1") if n["template"] == "verification_code"]) == 2
    code = page.code()
    wrong = "000000" if code != "000000" else "000001"
    for _ in range(3):
        page.tap("answer", mine="yes", transaction_id="tx-000001", code=wrong)
    late = page.tap("answer", mine="yes", transaction_id="tx-000001", code=code)
    assert said(late).startswith("The code does not work any more")


def test_no_blocks_as_the_playbook_says(page: Page) -> None:
    """At once, also while an agent holds the case; a second tap of the same form is one."""
    page.world.client.post(f"/v1/cases/{page.case_id}/actions", role=Role.AGENT, json={"actions": [{"do": "take"}]})
    form = {"mine": "no", "transaction_id": "tx-000001", "idempotency_key": "once-0"}
    for _ in range(2):
        answer = page.world.client.post(f"{page.path}/answer", data=form)
        assert said(answer.text).startswith("Thank you for telling us")
    assert page.card_state() == "blocked"
    (label,) = page.told("fraud.labels.v1")
    assert (label["label"], label["source"]) == ("fraud", "cardholder")
    assert page.case()["case"]["state"] != "closed"
    assert "stopped for good" in page.world.client.get(page.path).text


def test_a_lost_card_is_stopped_with_one_tap() -> None:
    """In the open case, to be confirmed; after the case was closed, in a new one."""
    page = Page(action="REVIEW")
    assert page.card_state() == "active"
    assert said(page.tap("lost")).startswith("Your card is stopped")
    assert page.card_state() == "frozen"
    assert page.case()["timeline"][-1]["note"].endswith("To be confirmed.")
    page.world.verify(page.case_id)
    closing = {"disposition": "false_positive", "card_action": "unfreeze", "note": "Found in the coat."}
    page.world.client.post(f"/v1/cases/{page.case_id}/override", role=Role.SENIOR_AGENT, json=closing)
    assert page.card_state() == "active"
    text = page.tap("lost")
    assert said(text).startswith("Your card is stopped")
    assert "Your card is paused" in text
    assert page.card_state() == "frozen"
    (case,) = page.world.client.get("/v1/cases", role=Role.AGENT).json()["cases"]
    assert (case["kind"], case["severity"]) == ("lost_or_stolen", 3)
    assert said(page.tap("lost")).startswith("Your card is stopped")


def test_language_and_channel_are_chosen_behind_a_link_of_their_own(page: Page) -> None:
    """The rest of the record stays; the page then speaks that language."""
    asyncio.run(page.memory.put_contact(CARD, ContactRecord("en", ("sms",), "a@mail.example", "Asia/Manila")))
    settings = "/s/" + page.link(Purpose.SETTINGS) + "/settings"
    assert settings.split("/")[2].split(".")[1] == "settings"
    assert page.world.client.get(settings).status_code == 200
    done = page.world.client.post(settings, data={"locale": "zh", "channel": "email"})
    assert (done.status_code, done.headers["location"]) == (303, f"{settings}?done=1")
    kept = asyncio.run(page.memory.contact(CARD))
    assert kept == ContactRecord("zh", ("email", "sms"), "a@mail.example", "Asia/Manila")
    text = page.world.client.get(page.path).text
    assert '<html lang="zh-Hans">' in text
    assert "这笔付款是您本人吗" in text
    assert "2025-10-09 16:49" in text
    assert '<html lang="fil">' in page.world.client.get(page.path + "?lang=fil").text
    assert page.world.client.post(settings, data={"locale": "xx", "channel": "email"}).status_code == 422


@pytest.mark.parametrize("path", ["", "/answer", "/code", "/lost", "/settings"])
def test_a_link_that_is_none_leads_nowhere(page: Page, path: str) -> None:
    """Forged, for something else, ended, or of a case that nobody knows: the same page, in three languages."""
    other = Purpose.ANSWER if path == "/settings" else Purpose.SETTINGS
    right = Purpose.SETTINGS if path == "/settings" else Purpose.ANSWER
    unknown = LINKS.sign(Link("case-000-" + "0" * 24, right, NOW_MS // 1000 + 60))
    for link in (page.link(right)[:-1], page.link(other), page.link(right, hours=-1), unknown, "x", "x" * 400):
        method = "GET" if path in {"", "/settings"} else "POST"
        answer = page.world.client.request(method, f"/s/{link}{path}", data={"idempotency_key": "k"})
        assert answer.status_code in {404, 422}
        for text in ("Call the number on your card", "Tawagan ang numero", "请拨打卡上的电话"):
            assert text in answer.text
        assert link == "x" or link not in answer.text


def test_forms_of_other_sites_and_other_payments_are_refused(page: Page) -> None:
    """Nothing is done; what was sent is not repeated."""
    form = {"mine": "no", "transaction_id": "tx-000001", "idempotency_key": "k"}
    foreign = page.world.client.post(f"{page.path}/answer", data=form, headers={"sec-fetch-site": "cross-site"})
    assert foreign.status_code == 403
    wrong = page.world.client.post(f"{page.path}/answer", data=form | {"transaction_id": CARD_NUMBER})
    assert wrong.status_code == 422
    assert CARD_NUMBER not in wrong.text
    assert page.card_state() == "frozen"


def test_the_page_is_not_there_without_links() -> None:
    """A service that signs none shows none."""
    page = Page()
    bare = world(notices=page.memory)
    assert bare.client.get(page.path).status_code == 404


def test_every_example_of_the_document_is_carried_out() -> None:
    """As a browser would send it; each form has one, and what is answered is what the document says."""
    described = {
        path.removeprefix("/s/{visit}"): methods
        for path, methods in Page().world.client.get("/openapi.json").json()["paths"].items()
        if path.startswith("/s/")
    }
    assert described.keys() == {"", "/answer", "/code", "/lost", "/settings"}
    for path, methods in described.items():
        purpose = Purpose.SETTINGS if path == "/settings" else Purpose.ANSWER
        content = methods["post"]["requestBody"]["content"] if "post" in methods else {}
        forms = content.get("application/x-www-form-urlencoded", {"examples": {}})["examples"].values()
        for method, form in [("get", None), *(("post", each["value"]) for each in forms)]:
            if method in methods:
                page = Page()
                answer = page.world.client.request(method, f"/s/{page.link(purpose)}{path}", data=form)
                assert answer.status_code == (303 if (path, method) == ("/settings", "post") else 200), answer.text
                documented = methods[method]["responses"][str(answer.status_code)]
                assert ("content" in documented) is (answer.status_code == 200)
                assert ("location" in answer.headers) is ("headers" in documented)
