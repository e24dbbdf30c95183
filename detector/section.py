"""Reading configuration: a table of settings that names the setting at fault and says what would be right.

Parsers of policy, rules, models and rates take their values through a `Section`; nothing else turns a setting that
cannot be used into a `ConfigurationError`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from detector.errors import ConfigurationError


class Section:
    """One table of a configuration, with the path that leads to it."""

    def __init__(self, values: Any, path: str) -> None:
        """Take a table.

        Args:
            values: what the configuration holds at `path`.
            path: dotted path of the table, as a person would look for it; "" for the whole file.

        Raises:
            ConfigurationError: there is no table at `path`.
        """
        self.path = path
        if not isinstance(values, Mapping):
            message = f"{path or 'the configuration'}: must be a table, not {type(values).__name__}"
            raise ConfigurationError(message)
        self._values: Mapping[str, Any] = values

    def name_of(self, key: str) -> str:
        """Dotted path of a setting in this table."""
        return f"{self.path}.{key}" if self.path else key

    def refuse(self, key: str, right: str) -> NoReturn:
        """Refuse a setting.

        Args:
            key: of the setting.
            right: what it must be, as in "must be ...".

        Raises:
            ConfigurationError: always.
        """
        found = repr(self._values[key]) if key in self._values else "not given"
        message = f"{self.name_of(key)}: must be {right}; it is {found}"
        raise ConfigurationError(message)

    def refuse_unknown(self, known: Sequence[str]) -> None:
        """Refuse settings that nothing reads, since a misspelt one would silently do nothing.

        Raises:
            ConfigurationError: a key is not among `known`.
        """
        for key in self._values:
            if key not in known:
                message = f"{self.name_of(key)}: unknown; known here are {', '.join(sorted(known))}"
                raise ConfigurationError(message)

    def __contains__(self, key: str) -> bool:
        """Whether the setting is given."""
        return key in self._values

    def keys(self) -> Iterator[str]:
        """Names of the settings in this table, in the order of the file."""
        return iter(self._values)

    def items(self) -> Iterator[tuple[str, Any]]:
        """Names and values as they stand, in the order of the file."""
        return iter(self._values.items())

    def raw(self, key: str) -> Any:
        """The value as it stands.

        Raises:
            ConfigurationError: not given.
        """
        if key not in self._values:
            self.refuse(key, "given")
        return self._values[key]

    def number(self, key: str, minimum: float, maximum: float) -> float:
        """A number within closed bounds.

        Raises:
            ConfigurationError: missing, no number, or out of bounds.
        """
        value = self._values.get(key)
        right = f"a number from {minimum:g} to {maximum:g}"
        if isinstance(value, bool) or not isinstance(value, int | float) or not minimum <= value <= maximum:
            self.refuse(key, right)
        return float(value)

    def integer(self, key: str, minimum: int, maximum: int) -> int:
        """An integer within closed bounds.

        Raises:
            ConfigurationError: missing, no integer, or out of bounds.
        """
        value = self._values.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
            self.refuse(key, f"an integer from {minimum} to {maximum}")
        return value

    def text(self, key: str) -> str:
        """A text that is not empty.

        Raises:
            ConfigurationError: missing, no text, or empty.
        """
        value = self._values.get(key)
        if not isinstance(value, str) or not value:
            self.refuse(key, "a text that is not empty")
        return value

    def choice(self, key: str, choices: Sequence[str]) -> str:
        """One of several words.

        Raises:
            ConfigurationError: missing, or another word.
        """
        value = self._values.get(key)
        if not isinstance(value, str) or value not in choices:
            self.refuse(key, f"one of {', '.join(choices)}")
        return value

    def sequence(self, key: str) -> Sequence[Any]:
        """A list of anything.

        Raises:
            ConfigurationError: missing, or no list.
        """
        value = self._values.get(key)
        if isinstance(value, str) or not isinstance(value, Sequence):
            self.refuse(key, "a list")
        return value

    def section(self, key: str) -> Section:
        """A table inside this one.

        Raises:
            ConfigurationError: missing, or no table.
        """
        return Section(self.raw(key), self.name_of(key))

    def sections(self, key: str) -> list[Section]:
        """A list of tables inside this one; an absent list is empty.

        Raises:
            ConfigurationError: no list of tables.
        """
        if key not in self._values:
            return []
        return [Section(value, f"{self.name_of(key)}[{index}]") for index, value in enumerate(self.sequence(key))]
