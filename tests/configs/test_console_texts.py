"""What the console's pages say in every language: nothing missing, nothing left over, the same places to fill in."""

from __future__ import annotations

import re
import tomllib
from importlib import resources
from string import Formatter
from typing import Any

import pytest

from api import problems
from api.console.language import flat_texts
from api.console.queue_filters import OWNERS
from api.console.rendering import LANGUAGE_NAMES
from casework.authority import Role
from casework.cards import OutcomeKind
from casework.cases import CaseEventType, Contact
from casework.kinds import KINDS
from casework.lists import Effect, Subject
from casework.playbook import Playbook
from casework.steps import StepName
from casework.views import Due
from detector.vocabulary import Action, CardStatus, Channel, EntryMode, Kind

# Keys that templates put together from a value, by what they begin with: each is checked against its values below.
_COMPOSED = ("decide.", "keys.does_", "problems.", "steps.", "payments.", "values.", "formats.", "notes.", "lists.",
             "queue.due_", "queue.owner_")  # fmt: skip
_USED = re.compile(r"""(?:\bt\(|\bsay\((?:texts, )?)f?["']([a-z_]+\.[a-z_]+)["']""")


def shipped(name: str, locale: str) -> dict[str, Any]:
    return tomllib.loads((resources.files("configs") / "messages" / f"{name}.{locale}.toml").read_text("utf-8"))


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("locale", LANGUAGE_NAMES)
def test_every_language_says_the_same_things(locale: str) -> None:
    """The same keys in the same order, with the same values in them."""
    english, other = flat_texts(shipped("console", "en")), flat_texts(shipped("console", locale))
    assert list(other) == list(english)
    assert {key: places(text) for key, text in other.items()} == {key: places(text) for key, text in english.items()}


@pytest.mark.parametrize("locale", [locale for locale in LANGUAGE_NAMES if locale != "en"])
def test_texts_are_translated(locale: str) -> None:
    """What stays as in English is a word of the trade, a name or a format; a sentence never does."""
    english, other = flat_texts(shipped("console", "en")), flat_texts(shipped("console", locale))
    same = {key for key, text in english.items() if text == other[key]}
    assert {key for key in same if english[key].count(" ") > 1} == set()
    assert len(same) < 30


def test_every_text_that_is_used_is_there_and_every_one_there_is_used() -> None:
    """A key misspelt in a template would be shown as a key; one that nothing says would rot."""
    sources = [
        entry.read_text("utf-8")
        for folder in (resources.files("api") / "templates", resources.files("api") / "console")
        for entry in folder.iterdir()
        if entry.name.endswith((".html", ".py"))
    ]
    used = {key for source in sources for key in _USED.findall(source)}
    texts = flat_texts(shipped("console", "en"))
    assert {key for key in used if not key.endswith("_")} - {"table.key"} <= set(texts)
    everything = "".join(sources)
    unused = {key for key in texts if not key.startswith(_COMPOSED) and key not in used}
    # The queue's columns are named in a loop of its template, and so are those of the history.
    assert {key for key in unused if f'"{key.partition(".")[2]}"' not in everything} == set()


@pytest.mark.parametrize("locale", LANGUAGE_NAMES)
def test_every_value_of_the_contract_has_a_name(locale: str) -> None:
    """Answers, states, events, outcomes, channels, roles, lists, and the words that a kind's fields may hold."""
    words = shipped("desk", locale)
    assert set(words["verdicts"]) == {action.wire for action in Action}
    assert set(words["card_states"]) == {state.wire for state in CardStatus}
    assert set(words["events"]) == set(CaseEventType)
    assert set(words["alert_outcomes"]) == set(OutcomeKind)
    assert set(words["channels"]) == set(Contact)
    assert set(words["roles"]) == set(Role)
    assert (set(words["effects"]), set(words["subjects"])) == (set(Effect), set(Subject))
    choices = {value for spec in KINDS.values() for field in spec.fields for value in field.choices}
    assert set(words["detail_choices"]) == choices
    playbook = Playbook.from_mapping(tomllib.loads((resources.files("configs") / "playbook.toml").read_text("utf-8")))
    assert set(words["macros"]) == set(playbook.macros)


@pytest.mark.parametrize("locale", LANGUAGE_NAMES)
def test_every_composed_text_is_there(locale: str) -> None:
    """Problems, steps, and how a payment was made."""
    texts = set(flat_texts(shipped("console", locale)))
    codes = {each.code for each in vars(problems).values() if isinstance(each, problems.Problem)}
    assert {f"problems.{code}_{part}" for code in codes for part in ("title", "detail")} <= texts
    assert {f"steps.{name}" for name in StepName} <= texts
    paid = {each.wire for words in (Kind, Channel, EntryMode) for each in words} - {"none"}
    assert {f"values.{word}" for word in paid} <= texts
    assert {f"queue.due_{due}" for due in Due} | {f"queue.owner_{owner}" for owner in OWNERS} <= texts


@pytest.mark.parametrize("wrong", [{"queue": {"title": 3}}, {"queue": {"title": ""}}])
def test_wrong_texts_are_named(wrong: dict[str, Any]) -> None:
    """Before anything starts."""
    with pytest.raises(ValueError, match=r"queue\.title"):
        flat_texts(wrong)
