"""Messages in every language: the same keys, units and places to fill in, and plain words for cardholders."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from importlib import resources
from string import Template
from typing import Any

import pytest

from api.console.words import reason_texts
from casework.notices import Messages, Notice
from casework.playbook import Playbook
from detector.catalogue import CATALOGUE

LOCALES = ("en", "fil", "zh")
NOTICE = Notice(
    notification_id="notice-1",
    card_token="card-token-4321",
    channel="sms",
    locale="en",
    template="card_frozen",
    parameters={"event_time_ms": 1_760_000_000_000, "amount_minor": 12_900, "currency": "PHP"},
    time_ms=1_760_000_000_000,
)
# Two text messages: 153 signs each, or 67 where a language needs Unicode.
LONGEST = {"en": 306, "fil": 306, "zh": 134}
# Nothing of how a payment was judged: no score, model or suspicion, in no language.
JARGON = {
    "en": ("score", "anomaly", "model", "fraud", "alert", "transaction", "suspicious", "token", "risk"),
    "fil": ("score", "anomal", "modelo", "panloloko", "alert", "transaksiyon", "kahina-hinala", "token", "panganib"),
    "zh": ("评分", "分数", "异常", "模型", "欺诈", "警报", "交易", "可疑", "风险"),
}


def shipped(name: str) -> dict[str, Any]:
    return tomllib.loads((resources.files("configs") / "messages" / name).read_text("utf-8"))


def placeholders(text: str) -> set[str]:
    return set(Template(text).get_identifiers())


@pytest.mark.parametrize("locale", LOCALES)
def test_reasons_of_all_languages_have_the_same_keys_and_units(locale: str) -> None:
    """Every key has its sentence in every language, read with the same unit and in the same order."""
    english, other = shipped("reasons.en.toml"), shipped(f"reasons.{locale}.toml")
    assert list(other) == list(english)
    read, meant = reason_texts(other), reason_texts(english)
    assert {key: text.unit for key, text in read.items()} == {key: text.unit for key, text in meant.items()}
    for key in english:
        assert placeholders(read[key].sentence) == placeholders(meant[key].sentence)


@pytest.mark.parametrize("locale", LOCALES)
def test_sentences_of_reasons_are_sentences(locale: str) -> None:
    """No code, no full stop, and no two keys say the same."""
    sentences = [entry["sentence"] for entry in shipped(f"reasons.{locale}.toml").values()]
    assert len(set(sentences)) == len(sentences)
    for sentence in sentences:
        assert sentence == sentence.strip()
        assert not set("_.。") & set(sentence)
        assert not sentence[0].islower()


@pytest.mark.parametrize("locale", LOCALES[1:])
def test_nothing_is_left_in_english(locale: str) -> None:
    """A translation that was forgotten is found."""
    english = {entry["sentence"] for entry in shipped("reasons.en.toml").values()}
    other = {entry["sentence"] for entry in shipped(f"reasons.{locale}.toml").values()}
    assert not english & other


@pytest.mark.parametrize("locale", LOCALES)
def test_every_reason_of_the_catalogue_has_its_sentence(locale: str) -> None:
    """Whatever a feature speaks for can be said."""
    assert {feature.text_key for feature in CATALOGUE} <= set(shipped(f"reasons.{locale}.toml"))


@pytest.mark.parametrize("locale", LOCALES)
def test_notices_of_all_languages_have_the_same_places_to_fill_in(locale: str) -> None:
    """The same templates and phrases, each with the same words that are filled in."""
    english, other = shipped("en.toml"), shipped(f"{locale}.toml")
    assert set(other) == set(english)
    assert set(other["phrases"]) == set(english["phrases"])
    assert set(other["templates"]) == set(english["templates"])
    for name, phrase in english["phrases"].items():
        assert placeholders(other["phrases"][name]) == placeholders(phrase)
    for name, template in english["templates"].items():
        assert {key: placeholders(text) for key, text in other["templates"][name].items()} == {
            key: placeholders(text) for key, text in template.items()
        }


@pytest.mark.parametrize("locale", LOCALES)
def test_notices_say_what_happened_and_nothing_of_how_it_was_judged(locale: str) -> None:
    """All that the playbook sends can be said, in two text messages, in plain words, without score or reason."""
    messages = Messages({locale: shipped(f"{locale}.toml")})
    playbook = Playbook.from_mapping(tomllib.loads((resources.files("configs") / "playbook.toml").read_text("utf-8")))
    responses = {response.notice for response in playbook.responses.values() if response.notice is not None}
    messages.require(locale, responses | set(playbook.card_notices.values()))
    for template in shipped(f"{locale}.toml")["templates"]:
        message = messages.render(replace(NOTICE, locale=locale, template=template))
        said = f"{message.title} {message.text}".lower()
        assert not [word for word in JARGON[locale] if word in said]
        assert not [feature.name for feature in CATALOGUE if "_" in feature.name and feature.name in said]
        assert len(message.text) <= LONGEST[locale]


@pytest.mark.parametrize("locale", LOCALES)
def test_a_notice_names_the_payment_as_far_as_it_is_known(locale: str) -> None:
    """With amount and moment where they are known; never an empty place."""
    messages = Messages({locale: shipped(f"{locale}.toml")})
    full = messages.render(replace(NOTICE, locale=locale)).text
    assert "PHP 129.00" in full
    assert "2025-10-09 08:53 UTC" in full
    unknown = messages.render(replace(NOTICE, locale=locale, parameters={})).text
    assert "$" not in full + unknown
    assert "UTC" not in unknown
