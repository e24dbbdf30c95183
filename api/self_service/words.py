"""What the cardholder's page says, by language: checked to be whole when it is read."""

from __future__ import annotations

import importlib.resources
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from string import Template

from casework.contacts import LOCALES

LANGUAGE_NAMES: Mapping[str, str] = {"en": "English", "fil": "Filipino", "zh": "简体中文"}
# What a browser, and a screen reader, calls the languages.
LANGUAGE_TAGS: Mapping[str, str] = {"en": "en", "fil": "fil", "zh": "zh-Hans"}


@lru_cache(maxsize=4)
def page_words(locale: str) -> Mapping[str, str]:
    """Texts of the page by their keys.

    Raises:
        KeyError: there is no such language.
    """
    if locale not in LOCALES:
        raise KeyError(locale)
    text = (importlib.resources.files("configs") / "messages" / f"page.{locale}.toml").read_text("utf-8")
    read: dict[str, str] = tomllib.loads(text)
    return read


def filled(text: str, **words: str) -> str:
    """A text with its words filled in."""
    return Template(text).substitute(words)
