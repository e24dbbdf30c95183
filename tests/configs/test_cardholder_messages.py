"""What cardholders read: every message in every language, easy, short, and free of what is nobody's business."""

from __future__ import annotations

from datetime import UTC
from string import Template
from zoneinfo import ZoneInfo

import pytest

from casework.notices import Message, Messages, Notice
from casework.sms import is_gsm7, sms_segments
from casework.verification import Method
from tests.casework.examples import CODE_KEY, NOW_MS, playbook, shipped
from tests.configs.readability import grade, syllables

LOCALES = ("en", "fil", "zh")
TEMPLATES = tuple(shipped("messages/en.toml")["templates"])
# A card number, and a name that nobody may read: planted wherever a notice could carry them.
CANARIES = ("4111111111111111", "Mrs Canary")
LINK = "https://cards.bank.example/s/" + "x" * 70
# Texts that ask for an answer say so within a time.
ANSWERED = {"card_frozen", "confirm_payment"}
CALL = {"en": "all the number on your card", "fil": "awagan ang numero sa card mo", "zh": "拨打卡上的电话"}
HIGHEST_GRADE = 6.0


def said(locale: str, template: str, link: str = "", **parameters: str | int) -> Message:
    messages = Messages({locale: shipped(f"messages/{locale}.toml")}, CODE_KEY, wait_minutes=15)
    given: dict[str, str | int] = {"event_time_ms": NOW_MS, "amount_minor": 1_299_900, "currency": "PHP"}
    if template == "verification_code":
        given = {"code_nonce": "nonce-of-the-request", "minutes": 10}
    notice = Notice("notice-1", CANARIES[0], "sms", locale, template, given | parameters, NOW_MS, "case-1")
    return messages.render(notice, link)


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("template", TEMPLATES)
def test_every_message_is_there_and_whole(locale: str, template: str) -> None:
    """In every language, with the payment, what to do, by when where that matters, and whom to call."""
    for link in ("", LINK):
        text = said(locale, template, link).text
        assert "$" not in text
        assert "{" not in text
        assert CALL[locale] in text
        assert ("15" in text) == (template in ANSWERED)
        assert (link in text) is (template in ANSWERED or not link)
        assert ("PHP 12,999.00" in text) is (template in ANSWERED)
    assert said(locale, template).title


@pytest.mark.parametrize("template", TEMPLATES)
def test_english_is_easy_to_read(template: str) -> None:
    """A child of eleven can read it, title and text."""
    message = said("en", template, currency="EUR", amount_minor=500)
    assert grade(f"{message.title}. {message.text}") <= HIGHEST_GRADE
    link = said("en", template, "https://a.example/s").text.replace("https://a.example/s", "here")
    assert grade(link) <= HIGHEST_GRADE


def test_the_grade_is_the_known_one() -> None:
    """Easy words are easy, hard ones hard; the formula is that of Kincaid and others, 1975."""
    counted = [syllables(word) for word in ("card", "paused", "money", "number", "switched", "table", "immediately")]
    assert counted == [1, 1, 2, 2, 1, 2, 5]
    assert grade("We saw it. It is on.") < 0
    assert grade("Unauthorised utilisation necessitates immediate institutional verification.") > 20


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("template", TEMPLATES)
def test_a_text_message_has_few_parts(locale: str, template: str) -> None:
    """Two without a link; a link takes one more, two where the language needs Unicode."""
    assert is_gsm7(said(locale, template, LINK).text) is (locale != "zh")
    assert sms_segments(said(locale, template).text) <= 2
    assert sms_segments(said(locale, template, LINK).text) <= (4 if locale == "zh" else 3)


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("template", TEMPLATES)
def test_no_message_says_what_is_nobodys_business(locale: str, template: str) -> None:
    """Neither the token, were it a card number, nor anything that a notice carries beside what is filled in."""
    message = said(locale, template, LINK, holder=CANARIES[1], note=CANARIES[0], score="0.93")
    for canary in (*CANARIES, "0.93"):
        assert canary not in message.title + message.text


@pytest.mark.parametrize("locale", LOCALES)
def test_times_are_told_in_the_cardholders_own_zone(locale: str) -> None:
    """Without a zone it is UTC, and says so."""
    messages = Messages({locale: shipped(f"messages/{locale}.toml")})
    notice = Notice("n-1", "card-1", "sms", locale, "card_frozen", {"event_time_ms": NOW_MS}, NOW_MS)
    assert "2025-10-09 08:53 UTC" in messages.render(notice, zone=UTC).text
    local = messages.render(notice, zone=ZoneInfo("Asia/Manila")).text
    assert "2025-10-09 16:53" in local
    assert "UTC" not in local


def test_what_a_message_promises_is_what_the_playbook_does() -> None:
    """A code works for as long as its notice says; that minutes are filled in, no text forgets."""
    assert playbook().verification.terms[Method.CODE].answer_within_ms == 10 * 60_000
    for locale in LOCALES:
        content = shipped(f"messages/{locale}.toml")["templates"]
        assert "minutes" in Template(content["verification_code"]["text"]).get_identifiers()
        assert said(locale, "verification_code", minutes=7).text.count("7 ") >= 1
