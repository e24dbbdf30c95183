"""Dealing partitions out to the members of a group so that as few as possible move, and none is owned twice.

A member says what it owns and since which generation. What has an owner is never given to another one: who has more
than its share loses some first, and says so by joining again; only then, in the next generation, somebody else gets
them. So whoever keeps a partition need not stop for a rebalance (docs/decisions/0034).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Claim(NamedTuple):
    """What a member owns, by the assignment that it followed last.

    Attributes:
        generation: of the group, when that was made; negative for a member that owns nothing.
        partitions: their numbers.
    """

    generation: int
    partitions: frozenset[int]


NOTHING = Claim(-1, frozenset())


def deal(partitions: Iterable[int], claims: Mapping[str, Claim]) -> dict[str, list[int]]:
    """Say who has which partitions next.

    Args:
        partitions: all numbers.
        claims: of every member, by its id.

    Returns:
        By member, ascending. What a member is to give up is nobody's.
    """
    owned = _owned(frozenset(partitions), claims)
    members = sorted(claims, key=lambda member: (-len(owned[member]), member))
    free = sorted(frozenset(partitions) - {number for numbers in owned.values() for number in numbers}, reverse=True)
    least, more = divmod(len(frozenset(partitions)), max(1, len(members)))
    dealt: dict[str, list[int]] = {}
    for place, member in enumerate(members):
        share = least + (place < more)
        dealt[member] = owned[member][:share]
        while free and len(dealt[member]) < share:
            dealt[member].append(free.pop())
        dealt[member].sort()
    return dealt


def _owned(partitions: frozenset[int], claims: Mapping[str, Claim]) -> dict[str, list[int]]:
    """What each member owns, ascending. Of two that claim the same one has missed a generation: the later counts."""
    owners: dict[int, str] = {}
    for member in sorted(claims, key=lambda member: (claims[member].generation, member)):
        owners |= dict.fromkeys(claims[member].partitions & partitions, member)
    owned: dict[str, list[int]] = {member: [] for member in claims}
    for number in sorted(owners):
        owned[owners[number]].append(number)
    return owned
