"""Pages of the docs about cases and roles are what the code and its configuration say."""

from __future__ import annotations

from pathlib import Path

import pytest

from cardwatch.case_pages import PAGES

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.generated
@pytest.mark.parametrize("name", PAGES)
def test_pages_are_fresh(name: str) -> None:
    """What lies in docs/ is what `python -m cardwatch.case_pages` would write."""
    assert (DOCS / name).read_text("utf-8") == PAGES[name]()
