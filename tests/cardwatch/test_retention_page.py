"""docs/retention.md says what topics and shipped settings say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cardwatch.retention_page import PAGE, retention_page
from cardwatch.settings import load_settings

ROOT = Path(__file__).parents[2]


@pytest.mark.generated
def test_the_page_is_that_of_topics_and_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever changes a retention writes the page anew: python -m cardwatch.retention_page."""
    for name in list(os.environ):
        if name.startswith("CARDWATCH_"):
            monkeypatch.delenv(name)
    assert (ROOT / PAGE).read_text(encoding="utf-8") == retention_page(load_settings())
