"""What sections of the settings have in common."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr

Port = Annotated[int, Field(ge=0, le=65_535, description="a TCP port, or 0 for a free one")]
Hours = Annotated[int, Field(ge=1, le=24 * 365, description="hours, from 1")]


class Section(BaseModel):
    """A table of the settings file."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, strict=False)


def hex_digits(count: int) -> Callable[[SecretStr], SecretStr]:
    """A validator of secrets in hex digits, which may be missing; it never repeats what it was given."""
    pattern = re.compile(rf"([0-9a-f]{{{count}}})?")

    def check(secret: SecretStr) -> SecretStr:
        if pattern.fullmatch(secret.get_secret_value()):
            return secret
        message = f"it does not consist of {count} lower-case hex digits"
        raise ValueError(message)

    return check
