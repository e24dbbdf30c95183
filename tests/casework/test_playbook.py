"""The shipped playbook and messages work, and a wrong setting is named."""

from __future__ import annotations

from typing import Any

import pytest

from casework.errors import ConfigurationError
from casework.notices import Messages
from casework.playbook import CaseHandling, Playbook
from detector.vocabulary import Action, Label
from tests.casework.examples import playbook, shipped


def test_the_shipped_playbook_and_messages_fit() -> None:
    """Every template that the playbook asks for is in the catalogue of its locale."""
    book = playbook()
    Messages({"en": shipped("messages/en.toml")}).require(book.locale, book.templates())
    assert book.responses[Action.FREEZE].case is CaseHandling.OPEN
    assert {resolution.label for resolution in book.resolutions.values()} == {Label.FRAUD, Label.GENUINE}


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("actions", "FREEZE", "case"), "attach", "actions.FREEZE.case"),
        (("actions", "FREEZE", "case"), "maybe", "case"),
        (("actions", "ALLOW"), {"case": "none"}, "actions"),
        (("actions", "REVIEW"), None, "actions"),
        (("dispositions", "false_positive", "label"), "unlabelled", "dispositions.false_positive.label"),
        (("dispositions", "false_positive", "damp_hours"), -1, "damp_hours"),
        (("dispositions", "unknown"), {"label": "fraud", "damp_hours": 0}, "dispositions"),
        (("card_notices", "reissued"), "x", "card_notices"),
        (("memory", "outcome_days"), 0, "outcome_days"),
        (("memory", "answer_hours"), 720, None),
        (("memory", "closed_case_days"), 1, None),
        (("notices",), None, "notices"),
        (("colour",), "blue", "colour"),
        (("version",), 3, "version"),
    ],
)
def test_a_wrong_setting_is_named(path: tuple[str, ...], value: object, named: str | None) -> None:
    """Before anything starts; None removes the setting."""
    settings = _changed(shipped("playbook.toml"), path, value)
    if named is None:
        Playbook.from_mapping(settings)
    else:
        with pytest.raises(ConfigurationError, match=named):
            Playbook.from_mapping(settings)


def test_answers_are_not_kept_longer_than_closed_cases() -> None:
    """The answer to an override shows its case, which must still be there."""
    settings = _changed(shipped("playbook.toml"), ("memory", "closed_case_days"), 1)
    with pytest.raises(ConfigurationError, match="answer_hours"):
        Playbook.from_mapping(_changed(settings, ("memory", "answer_hours"), 25))


def _changed(settings: dict[str, Any], path: tuple[str, ...], value: object) -> dict[str, Any]:
    table = settings
    for name in path[:-1]:
        table = table[name]
    if value is None:
        del table[path[-1]]
    else:
        table[path[-1]] = value
    return settings
