"""A language of the console: its own texts, the desk's words and the sentences of reasons, from `configs/messages`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from api.console import words
from api.console.desk_words import NO_WORDS, DeskWords
from api.console.words import ReasonText
from casework.alerts import Scalar

LANGUAGE_COOKIE = "cardwatch_language"


@dataclass(frozen=True, slots=True)
class Language:
    """Everything the console says, in one language.

    Attributes:
        locale: its BCP 47 tag, as `<html lang>` has it.
        texts: of pages, by `table.key`; `{name}` stands for a value.
        reason_texts: how an alert's evidence is explained, by text key; a missing one shows the reason code in words.
        desk_words: what actions, fields and choices are called; a missing one shows its name in words.
    """

    locale: str = "en"
    texts: Mapping[str, str] = field(default_factory=dict)
    reason_texts: Mapping[str, ReasonText] = field(default_factory=dict)
    desk_words: DeskWords = NO_WORDS

    def say(self, key: str, **values: object) -> str:
        """A text with its values in their places; one that is missing shows its key in words."""
        return words.say(self.texts, key, **values)

    def choice(self, table: str, value: object) -> str:
        """What a value of the contract is called: `choice("states", "new")`."""
        return self.desk_words.choice(f"{table}.{value}")

    def reason(self, code: str) -> str:
        """The sentence that explains a reason."""
        return words.sentence(self.reason_texts, code)

    def moment(self, time_ms: int) -> str:
        """A time, with its zone."""
        return words.moment(time_ms, self.texts)

    def age(self, now_ms: int, then_ms: int) -> str:
        """How long ago something was."""
        return words.age(now_ms, then_ms, self.texts)

    def left(self, now_ms: int, due_ms: int) -> str:
        """How much time is left, or by how much it is over."""
        return words.left(now_ms, due_ms, self.texts)

    def measure(self, value: Scalar, unit: str) -> str:
        """An observed or usual value with its unit."""
        return words.measure(value, unit, self.texts)


NO_LANGUAGE = Language()


def flat_texts(tables: Mapping[str, Mapping[str, object]]) -> dict[str, str]:
    """The content of a `configs/messages/console.*.toml` by `table.key`.

    Raises:
        ValueError: an entry is no text; the message names it.
    """
    texts: dict[str, str] = {}
    for table, entries in tables.items():
        for key, text in entries.items():
            if not isinstance(text, str) or not text:
                message = f"console texts: {table}.{key} must be a text"
                raise ValueError(message)
            texts[f"{table}.{key}"] = text
    return texts
