"""Partitions dealt out: fairly, with as few moves as there have to be, and never to two at once."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest
from aiokafka.coordinator.assignors.range import RangePartitionAssignor  # type: ignore[import-untyped]
from aiokafka.coordinator.protocol import (  # type: ignore[import-untyped]
    ConsumerProtocolMemberAssignment,
    ConsumerProtocolMemberMetadata,
)

from streams.cooperation import StayingAssignor
from streams.dealing import NOTHING, Claim, deal
from streams.records import TopicPartition

_NUMBERS = range(12)


def settle(members: Mapping[str, Claim], generation: int) -> tuple[dict[str, Claim], int, int]:
    """Deal until nobody loses anything any more; the claims, the generation, and how often it was dealt."""
    claims, rounds = dict(members), 0
    while True:
        generation, rounds = generation + 1, rounds + 1
        dealt = deal(_NUMBERS, claims)
        lost = [member for member, numbers in dealt.items() if claims[member].partitions - set(numbers)]
        claims = {member: Claim(generation, frozenset(numbers)) for member, numbers in dealt.items()}
        if not lost:
            return claims, generation, rounds
        assert rounds < 4


def sizes(claims: Mapping[str, Claim]) -> list[int]:
    return sorted(len(claim.partitions) for claim in claims.values())


def test_who_leaves_moves_only_what_it_had() -> None:
    """The others keep theirs, and get the rest at once."""
    claims, generation, _ = settle(dict.fromkeys("abc", NOTHING), 0)
    assert sizes(claims) == [4, 4, 4]
    left = {member: claims[member] for member in "ac"}
    after, _, rounds = settle(left, generation)
    assert rounds == 1
    assert sizes(after) == [6, 6]
    assert all(left[member].partitions < after[member].partitions for member in "ac")


def test_who_joins_gets_its_share_after_others_have_given_it_up() -> None:
    """Nothing in the first generation, for all of it is owned; in the second what nobody owns any more."""
    claims, generation, _ = settle(dict.fromkeys("ab", NOTHING), 0)
    assert deal(_NUMBERS, claims | {"c": NOTHING})["c"] == []
    after, _, rounds = settle(claims | {"c": NOTHING}, generation)
    assert rounds == 2
    assert sizes(after) == [4, 4, 4]
    assert after["a"].partitions < claims["a"].partitions


def test_of_two_owners_the_later_counts() -> None:
    """A member that missed a generation owns what it says only where nobody else does."""
    dealt = deal(range(4), {"late": Claim(3, frozenset({0, 1})), "new": Claim(5, frozenset({1, 2}))})
    assert dealt == {"late": [0, 3], "new": [1, 2]}


def test_partitions_that_are_gone_are_nobodys() -> None:
    """What is claimed and does not exist is not dealt."""
    assert deal(range(2), {"a": Claim(1, frozenset({1, 7}))}) == {"a": [0, 1]}


@pytest.mark.parametrize("seed", range(20))
def test_nobody_gets_what_another_one_has(seed: int) -> None:
    """Whatever members come and go, some of them losing their assignment: all is dealt in the end, evenly."""
    rng = random.Random(seed)
    claims: dict[str, Claim] = {"m0": NOTHING}
    generation = 0
    for step in range(1, 60):
        if rng.random() < 0.3:
            claims[f"m{step}"] = NOTHING
        if len(claims) > 1 and rng.random() < 0.3:
            del claims[rng.choice(sorted(claims))]
        generation += 1
        dealt = deal(_NUMBERS, claims)
        given = [number for numbers in dealt.values() for number in numbers]
        assert len(given) == len(set(given))
        for member, numbers in dealt.items():
            others = {number for other in claims if other != member for number in claims[other].partitions}
            assert not others & set(numbers)
        for member, numbers in dealt.items():
            if rng.random() < 0.9:  # else it did not hear of it
                claims[member] = Claim(generation, frozenset(numbers))
    after, _, _ = settle(claims, generation)
    assert sum(sizes(after)) == len(_NUMBERS)
    assert sizes(after)[-1] - sizes(after)[0] <= 1


class Cluster:
    """Knows how many partitions topics have."""

    def __init__(self, **counts: int) -> None:
        self._counts = counts

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(range(self._counts[topic])) if topic in self._counts else None


def dealt_by(cluster: Cluster, members: Mapping[str, Any]) -> dict[str, list[TopicPartition]]:
    """What the leader says, as it goes over the wire."""
    assignor = StayingAssignor()
    said = {name: ConsumerProtocolMemberMetadata.decode(member.encode()) for name, member in members.items()}
    return {
        name: sorted(TopicPartition(*place) for place in given.partitions())
        for name, given in assignor.assign(cluster, said).items()
    }


def member(*numbers: int, generation: int = 1) -> Any:
    """What a member that owns partitions says when it joins."""
    assignor, topics = StayingAssignor(), ("labels", "payments")
    if numbers:
        given = [(topic, list(numbers)) for topic in topics]
        assignor.follow(generation, ConsumerProtocolMemberAssignment(0, given, b""))
    return assignor.metadata(topics)


def test_partitions_of_the_same_number_go_together() -> None:
    """Payments and labels of a card come to one worker, which keeps what it has said that it owns."""
    dealt = dealt_by(Cluster(labels=4, payments=4), {"a": member(2, 3), "b": member()})
    assert dealt["a"] == [TopicPartition(topic, number) for topic in ("labels", "payments") for number in (2, 3)]
    assert dealt["b"] == [TopicPartition(topic, number) for topic in ("labels", "payments") for number in (0, 1)]


def test_a_member_of_an_earlier_version_owns_nothing() -> None:
    """It has given everything up before it joined: what nobody owns is dealt to it."""
    earlier = RangePartitionAssignor.metadata(["payments", "labels"])
    dealt = dealt_by(Cluster(labels=4, payments=4), {"earlier": earlier, "new": member(0, 1, 2, 3)})
    assert dealt["earlier"] == []
    assert len(dealt["new"]) == 4
    dealt = dealt_by(Cluster(labels=4, payments=4), {"earlier": earlier, "new": member(1, 2)})
    assert {place.partition for place in dealt["earlier"]} == {0, 3}


def test_topics_that_do_not_go_together_are_dealt_by_range() -> None:
    """The role then says which topics have the wrong number of partitions, as it did before."""
    dealt = dealt_by(Cluster(labels=2, payments=4), {"a": member(), "b": member()})
    assert [len(dealt[name]) for name in "ab"] == [3, 3]


def test_a_leader_without_our_mark_is_followed_as_before() -> None:
    """Whoever is dealt partitions by an earlier version gives everything up before it joins the next time."""
    assignor, cluster, goes_on = StayingAssignor(), Cluster(labels=1, payments=1), []
    for generation, leader in enumerate((RangePartitionAssignor, StayingAssignor(), RangePartitionAssignor)):
        assignor.follow(generation, leader.assign(cluster, {"a": assignor.metadata(["labels"])})["a"])
        goes_on.append(assignor.was_marked)
    assert goes_on == [False, True, False]
