"""Words of the desk in every language: nothing that an agent can do, choose or fill in is without a name."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Any

import pytest

from api.console.desk_words import DeskWords
from casework import commands
from casework.kinds import KINDS, CaseKind
from casework.lifecycle import CaseState
from casework.verification import Method

LOCALES = ("en", "fil", "zh")


def shipped(locale: str) -> dict[str, Any]:
    return tomllib.loads((resources.files("configs") / "messages" / f"desk.{locale}.toml").read_text("utf-8"))


@pytest.mark.parametrize("locale", LOCALES)
def test_every_language_has_the_same_entries(locale: str) -> None:
    """In the same tables; each of them a text."""
    english, other = shipped("en"), shipped(locale)
    assert {table: set(entries) for table, entries in other.items()} == {
        table: set(entries) for table, entries in english.items()
    }
    DeskWords.from_mapping(other)


@pytest.mark.parametrize("locale", LOCALES)
def test_everything_has_a_name(locale: str) -> None:
    """Each command, kind, state, outcome, method and field of a kind."""
    words = shipped(locale)
    assert {kind.__struct_config__.tag for kind in commands.Command.__args__} == set(words["actions"])
    assert set(words["kinds"]) == set(CaseKind)
    assert set(words["states"]) == set(CaseState)
    assert set(words["methods"]) == set(Method)
    assert {outcome for spec in KINDS.values() for outcome in spec.outcomes} <= set(words["outcomes"])
    assert {field.name for spec in KINDS.values() for field in spec.fields} <= set(words["fields"])


@pytest.mark.parametrize("locale", LOCALES[1:])
def test_titles_are_translated(locale: str) -> None:
    """A title that was forgotten is found; words that stay English in a language are few."""
    english, other = shipped("en")["actions"], shipped(locale)["actions"]
    same = {name for name in english if english[name]["title"] == other[name]["title"]}
    assert same == set()


@pytest.mark.parametrize(
    "wrong", [{"actions": {"note": {"title": "x"}}}, {"actions": {"note": "x"}}, {"fields": {"note": 3}}]
)
def test_wrong_words_are_named(wrong: dict[str, Any]) -> None:
    """Before anything starts."""
    with pytest.raises(ValueError, match="note"):
        DeskWords.from_mapping(wrong)


def test_what_has_no_words_is_still_called_something() -> None:
    """Its own name, in words."""
    words = DeskWords({}, {}, {})
    assert words.action("verify_begin") == ("Verify begin", "")
    assert (words.field("police_report"), words.choice("states.new"), words.choice("=As it is")) == (
        "Police report", "New", "As it is",
    )  # fmt: skip
