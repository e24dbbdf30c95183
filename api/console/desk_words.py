"""What the desk's actions, fields and choices are called, in each language: `configs/messages/desk.*.toml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeskWords:
    """The words of one language.

    Attributes:
        actions: title and hint by command tag.
        fields: by the name of a command's or kind's field.
        choices: by table and value, such as `states.contacting`.
    """

    actions: Mapping[str, tuple[str, str]]
    fields: Mapping[str, str]
    choices: Mapping[str, str]

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Mapping[str, object]]) -> DeskWords:
        """Read the content of a `configs/messages/desk.*.toml`.

        Raises:
            ValueError: an entry is no text; the message names it.
        """
        tables = {table: dict(entries) for table, entries in settings.items()}
        actions = tables.pop("actions", {})
        fields = tables.pop("fields", {})
        read: dict[str, tuple[str, str]] = {}
        for name, entry in actions.items():
            pair = (entry.get("title"), entry.get("hint")) if isinstance(entry, Mapping) else (None, None)
            if not isinstance(pair[0], str) or not isinstance(pair[1], str):
                message = f"desk words: actions.{name} needs a title and a hint"
                raise ValueError(message)  # noqa: TRY004  a wrong file, not a wrong call
            read[name] = (pair[0], pair[1])
        choices = {f"{table}.{value}": text for table, entries in tables.items() for value, text in entries.items()}
        for name, text in {**fields, **choices}.items():
            if not isinstance(text, str):
                message = f"desk words: {name} must be a text"
                raise ValueError(message)  # noqa: TRY004  as above
        return cls(read, {name: str(text) for name, text in fields.items()},
                   {name: str(text) for name, text in choices.items()})  # fmt: skip

    def action(self, do: str) -> tuple[str, str]:
        """Title and hint of an action."""
        return self.actions.get(do, (_plain(do), ""))

    def field(self, name: str) -> str:
        """What a field is called."""
        return self.fields.get(name, _plain(name))

    def choice(self, key: str, default: str | None = None) -> str:
        """What a choice is called; "=" stands before what is no key but the words themselves.

        Args:
            key: table and value.
            default: the words where the language has none; None makes them of the value.
        """
        if key.startswith("="):
            return key[1:]
        return self.choices.get(key, _plain(key.rpartition(".")[2]) if default is None else default)


def _plain(name: str) -> str:
    return name.replace("_", " ").capitalize()


NO_WORDS = DeskWords({}, {}, {})
