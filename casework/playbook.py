"""The playbook: what to do about each action and disposition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Playbook:
    """Rules by action and disposition, from `configs/playbook.toml`."""

    @classmethod
    def from_mapping(cls, settings: Mapping[str, object]) -> Playbook:
        """Read the content of `configs/playbook.toml`.

        Raises:
            ConfigurationError: a setting is missing, unknown or wrong; the message names it.
        """
        raise NotImplementedError
