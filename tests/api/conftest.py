"""A fresh application for each test."""

from __future__ import annotations

import pytest

from tests.api.support import World, world


@pytest.fixture(name="world")
def fixture_world() -> World:
    """An application on an empty desk."""
    return world()
