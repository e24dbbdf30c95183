"""The store port: the system of record for cards, open cases and the outbox."""

from __future__ import annotations

from typing import Protocol


class Store(Protocol):
    """What the desk needs of a store; every implementation passes `tests/contracts/test_store.py`."""

    @property
    def shards(self) -> int:
        """Number of shards, fixed when the store was set up."""
