"""What the desk is for, told from beginning to end on a running cardwatch: who does what, and what everybody sees."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cardwatch.topic_reader import TopicReader
from streams.clock import epoch_ms
from streams.topics import CARD_ORDERS
from tests.services.process import wait_until
from tests.stories.conftest import WAIT_S, Stage

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.compiled, pytest.mark.timeout(900)]
# A whole shift has two hundred, and takes minutes.
SHIFT_CASES = int(os.environ.get("CARDWATCH_SHIFT_CASES", "40"))
DAY_MS = 86_400_000
_PAYMENTS = "document.querySelectorAll('[name=transaction_id]').length"


def card_becomes(stage: Stage, card_token: str, state: str) -> None:
    desk = stage.desk("ben-tier-2")
    wait_until(lambda: desk.card(card_token)["state"] == state, seconds=WAIT_S, what=f"the card is {state}")


def case_becomes(stage: Stage, case_id: str, state: str) -> None:
    desk = stage.desk("ben-tier-2")
    wait_until(lambda: desk.case(case_id)[0]["case"]["state"] == state, seconds=WAIT_S, what=f"the case is {state}")


@pytest.fixture(scope="module", autouse=True)
def referral(stage: Stage) -> str:
    """A case that nobody answers while the other stories are told; its id."""
    stage.enter("ben-tier-2", "/new?kind=referral")
    stage.shot("breach-1-new")
    stage.browser.fill("[name=card_token]", "tok_referral")
    stage.browser.fill("[name=note]", "The branch saw somebody else's passport.")
    for field in stage.browser.evaluate(
        "[...document.querySelectorAll('main form [required]')].filter((each) => !each.value).map((each) => each.name)"
    ):
        stage.browser.fill(f"[name='{field}']", "branch")
    stage.browser.submit("main button.main")
    return str(stage.browser.evaluate("document.body.dataset.case"))


@contextmanager
def ordering(stage: Stage, kind: str) -> Iterator[list[dict[str, Any]]]:
    """Within it something is ordered of payment systems; in the end the order is on its topic, and in the list."""
    orders = TopicReader(stage.system.settings.kafka, CARD_ORDERS)
    found: list[dict[str, Any]] = []
    yield found

    def seen() -> bool:
        found.extend(body for record in orders.read() if (body := record.fields()).get("type") == kind)
        return bool(found)

    wait_until(seen, seconds=WAIT_S, what=f"the order {kind}")
    orders.close()


def test_a_stolen_card_abroad_is_caught_and_replaced(stage: Stage) -> None:
    """Frozen by the engine; the cardholder says NO and the card is blocked; an agent orders a new one and closes."""
    card_token, case_id = stage.attack()
    stage.on_phone(stage.bank.link(case_id))
    assert "Was this you?" in stage.text("body")
    stage.shot("stolen-1-was-this-you")
    stage.browser.submit("button[value=no]")
    assert "Your card is stopped" in stage.text(".said")
    stage.shot("stolen-2-no")
    card_becomes(stage, card_token, "blocked")
    stage.enter("ben-tier-2", f"/cases/{case_id}")
    stage.shot("stolen-3-case")
    stage.does(lambda: stage.press("i!"))
    with ordering(stage, "reissue"):
        stage.does(lambda: stage.fill_form("reissue", reason="Stolen abroad; the cardholder was called back."))
    stage.shot("stolen-4-new-card")
    card_becomes(stage, card_token, "reissued")
    stage.does(lambda: _decide(stage, "confirmed_fraud", "Stolen abroad. A new card is on its way."))
    stage.shot("stolen-5-closed")
    case_becomes(stage, case_id, "closed")
    assert stage.browser.refusals() == []


def test_a_false_freeze_at_a_supermarket_ends_by_itself(stage: Stage) -> None:
    """The cardholder says YES with a code and pays again, within a minute of opening the page; an agent then closes."""
    card_token, case_id = stage.false_freeze(
        merchant_category="supermarket", mcc="5411", amount_minor=18_900, currency="EUR"
    )
    link = stage.bank.link(case_id)
    stage.on_phone(link)
    stage.browser.submit("form[action*='/code'] button")
    stage.shot("supermarket-1-code")
    code = stage.bank.code(case_id)
    for place in range(1, 1 + int(stage.browser.evaluate(_PAYMENTS))):
        if place == 1:
            stage.browser.fill("#code-1", code)
        stage.browser.submit(f"section[aria-labelledby=payment-{place}] button[value=yes]")
        stage.shot(f"supermarket-2-yes-{place}")
    assert "Your card works again" in stage.text(".said")
    card_becomes(stage, card_token, "active")
    stage.enter("ana-tier-1", f"/cases/{case_id}")
    stage.shot("supermarket-3-case")
    stage.does(lambda: stage.press("f!"))
    stage.shot("supermarket-4-follows")
    case_becomes(stage, case_id, "closed")
    stage.browser.wait_until("!document.getElementById('pending')")
    stage.shot("supermarket-5-closed")
    assert stage.desk("ana-tier-1").case(case_id)[0]["case"]["disposition"] == "false_positive"


def test_a_lost_card_by_one_tap(stage: Stage) -> None:
    """The link of a case that was settled still stops the card at once; a person is told to confirm it."""
    (card_token,) = stage.raise_alerts(1, "FREEZE")
    desk = stage.desk("ben-tier-2")
    case_id = str(desk.open_cases(card_token)[0]["case_id"])
    link = stage.bank.link(case_id)
    desk.act(case_id, {"do": "verify_seen", "method": "call_back"}, {"do": "unfreeze", "reason": "It was them."})
    stage.on_phone(link)
    stage.shot("lost-1-page")
    stage.browser.submit("form[action*='/lost'] button")
    assert "Your card is stopped" in stage.text(".said")
    stage.shot("lost-2-stopped")
    card_becomes(stage, card_token, "frozen")
    stage.enter("ana-tier-1", f"/cases/{case_id}")
    assert "reports on their page that the card is lost" in stage.text()
    stage.shot("lost-3-case")


def test_a_dispute_with_a_provisional_credit(stage: Stage) -> None:
    """Tier 1 opens it and may not accept it; tier 2 does, and the credit is ordered."""
    stage.enter("ana-tier-1", "/new?kind=dispute")
    stage.shot("dispute-1-new")
    for selector, text in (
        ("[name=card_token]", "tok_dispute"), ("[name='detail.transaction_id']", "tx-shoes"),
        ("[name='detail.reason']", "not_received"), ("[name='detail.amount_minor']", "4900"),
        ("[name='detail.currency']", "EUR"), ("[name=note]", "Ordered shoes in March, never came."),
    ):  # fmt: skip
        stage.browser.fill(selector, text)
    stage.browser.submit("main button.main")
    stage.shot("dispute-2-opened")
    case_id = str(stage.browser.evaluate("document.body.dataset.case"))
    assert stage.browser.evaluate("document.getElementById('do-accept_dispute')") is None
    stage.enter("ben-tier-2", f"/cases/{case_id}")
    stage.shot("dispute-3-tier-2")
    with ordering(stage, "provisional_credit") as credited:
        stage.does(lambda: stage.fill_form("accept_dispute", reason="The shop does not answer."))
    stage.shot("dispute-4-accepted")
    assert [(each["amount_minor"], each["currency"]) for each in credited] == [(4_900, "EUR")]


def test_tier_1_unfreezes_nobody_unknown(stage: Stage) -> None:
    """Without verified identity the console says what is missing, and the card stays frozen."""
    (card_token,) = stage.raise_alerts(1, "FREEZE")
    case_id = stage.desk("ana-tier-1").open_cases(card_token)[0]["case_id"]
    stage.enter("ana-tier-1", f"/cases/{case_id}")
    stage.press("f")
    stage.shot("unknown-1-key")
    assert "Verify who they are" in stage.text("#toast")
    stage.fill_form("unfreeze", reason="Sounded honest.")
    stage.shot("unknown-2-refused")
    assert "identity" in stage.text("[role=alert]").lower()
    assert stage.desk("ana-tier-1").card(card_token)["state"] == "frozen"


def test_two_agents_collide(stage: Stage) -> None:
    """The second decides on a page that is out of date: refused, told what the first one did, their words kept."""
    (card_token,) = stage.raise_alerts(1, "REVIEW")
    desk = stage.desk("ben-tier-2")
    case_id = str(desk.open_cases(card_token)[0]["case_id"])
    stage.enter("ana-tier-1", f"/cases/{case_id}")
    desk.act(case_id, {"do": "note", "text": "The cardholder is on the other line."})
    _decide(stage, "false_positive", "Their usual shop.")
    stage.shot("collide-1-refused")
    alarm = stage.text("[role=alert]")
    assert "ben-tier-2" in alarm
    assert stage.browser.evaluate("document.querySelector('#note').value") == "Their usual shop."
    assert desk.case(case_id)[0]["case"]["state"] != "closed"
    stage.browser.submit("#override button.main")
    stage.shot("collide-2-decided")
    assert desk.case(case_id)[0]["case"]["state"] == "closed"


def test_a_missed_target_escalates(stage: Stage, referral: str) -> None:
    """Nobody answers in time: the case says so, rises a tier, and stands where a supervisor looks."""
    desk = stage.desk("cleo-tier-3")
    wait_until(lambda: desk.case(referral)[0]["case"]["tier"] > 1, seconds=120.0, what="the case is escalated")
    stage.enter("cleo-tier-3", "?due=missed")
    assert referral in stage.browser.evaluate("document.getElementById('queue').innerHTML")
    stage.shot("breach-2-queue")
    stage.browser.open(f"{stage.console}/cases/{referral}")
    stage.shot("breach-3-case")
    stage.browser.open(f"{stage.console}/shift")
    stage.shot("breach-4-shift")


def test_a_shift_of_cases_by_keyboard_alone(stage: Stage, record_property: Callable[[str, object], None]) -> None:
    """From next case to next case, three key presses each, and none is left."""
    tokens = set(stage.raise_alerts(SHIFT_CASES, "REVIEW"))
    desk = stage.desk("cleo-tier-3")
    for case in desk.open_cases(limit=200):
        if case["card_token"] not in tokens:
            _leave_to_the_next_shift(stage, case["case_id"])
    stage.enter("cleo-tier-3")
    worked, presses, ready_ms = set[str](), 0, []
    while tokens - worked:
        stage.press("n")
        ready_ms.append(
            stage.browser.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
        )
        assert stage.browser.evaluate("document.body.dataset.page") == "case", "nothing is left, and somebody waits"
        case_id = str(stage.browser.evaluate("document.body.dataset.case"))
        card_token = str(desk.case(case_id)[0]["case"]["card_token"])
        if card_token not in tokens:
            # Payments go on meanwhile. To call what they raise fraud, unseen, would teach the models that it is.
            _leave_to_the_next_shift(stage, case_id)
            continue
        worked.add(card_token)
        stage.does(lambda: stage.press("c!"))
        presses += 3
        assert stage.browser.evaluate("document.getElementById('pending') !== null")
    stage.shot("shift-1-last")
    record_property("key_presses_per_case", presses / len(worked))
    record_property("case_page_ready_ms_median", sorted(ready_ms)[len(ready_ms) // 2])
    wait_until(lambda: not any(desk.open_cases(token) for token in tokens), seconds=WAIT_S, what="all are closed")
    stage.enter("cleo-tier-3", "/figures?days=1")
    stage.shot("shift-2-figures")


def _decide(stage: Stage, disposition: str, note: str) -> None:
    """Decide a case one thing after the other, the card as it is."""
    stage.browser.evaluate("void (document.getElementById('one-by-one').open = true)")
    stage.browser.check(f"#override [value={disposition}]")
    stage.browser.check("#override [value=keep]")
    stage.browser.fill("#note", note)
    stage.browser.submit("#override button.main")


def _leave_to_the_next_shift(stage: Stage, case_id: str) -> None:
    until_ms = epoch_ms() + DAY_MS
    stage.desk("cleo-tier-3").act(case_id, {"do": "snooze", "until_ms": until_ms, "reason": "For the next shift."})
