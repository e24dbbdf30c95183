"""The cardholder's page in every language: the same keys, easy words, nothing of how a payment was judged."""

from __future__ import annotations

import pytest

from casework.contacts import CHANNELS
from detector.vocabulary import Action, CardStatus
from tests.casework.examples import shipped
from tests.configs.readability import grade
from tests.configs.test_messages import JARGON

LOCALES = ("en", "fil", "zh")


@pytest.mark.parametrize("locale", LOCALES)
def test_every_sentence_is_there_in_every_language(locale: str) -> None:
    """None missing, none empty, none left in English."""
    english, other = shipped("messages/page.en.toml"), shipped(f"messages/page.{locale}.toml")
    assert list(other) == list(english)
    assert all(text.strip() for text in other.values())
    same = {key for key in english if english[key] == other[key]}
    assert locale == "en" or same <= {"channel_sms", "channel_app"}
    assert {f"card_{state.wire}" for state in CardStatus} <= set(other)
    assert {f"payment_{action.wire.lower()}" for action in Action if action is not Action.ALLOW} <= set(other)
    assert {f"channel_{name}" for name in CHANNELS} <= set(other)


@pytest.mark.parametrize("locale", LOCALES)
def test_the_page_has_no_jargon(locale: str) -> None:
    """No score, no model, no suspicion, no blame."""
    said = " ".join(shipped(f"messages/page.{locale}.toml").values()).lower()
    assert not [word for word in JARGON[locale] if word in said]


def test_the_page_is_easy_to_read() -> None:
    """Every English sentence by itself; short labels have no grade."""
    for key, text in shipped("messages/page.en.toml").items():
        if len(text.split()) > 6:
            assert grade(text) <= 7.0, (key, grade(text))
