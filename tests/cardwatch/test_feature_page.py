"""The page of features follows the catalogue."""

from __future__ import annotations

from pathlib import Path

import pytest

from cardwatch.feature_page import PAGE, feature_page

ROOT = Path(__file__).parents[2]


@pytest.mark.generated
def test_the_page_of_features_is_what_the_catalogue_says() -> None:
    """Whoever changes the catalogue writes the page anew: python -m cardwatch.feature_page."""
    assert (ROOT / PAGE).read_text(encoding="utf-8") == feature_page()
