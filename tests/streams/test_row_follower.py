"""The thread that follows the topic of rows: what it reads, and what it knows of the topic's ends."""

from __future__ import annotations

import contextlib

from streams.row_follower import RowFollower
from streams.topics import ENTITY_ROWS
from tests.services.process import wait_until
from tests.streams.kafka_world import PARTITIONS, World

_WITHIN_S = 30.0


def test_the_ends_of_what_is_followed_become_known(world: World) -> None:
    """Of empty partitions as well, and only of those that are followed now; what was taken does not change them."""
    for _ in range(3):
        world.writer.produce(ENTITY_ROWS, b"rows", partition=1)
    world.writer.flush()
    follower = RowFollower(world.settings)
    assert follower.ends() == {}
    follower.start()
    with contextlib.closing(follower):
        follower.follow(dict.fromkeys(range(PARTITIONS), 0))
        expected = {number: 3 if number == 1 else 0 for number in range(PARTITIONS)}
        wait_until(lambda: follower.ends() == expected, seconds=_WITHIN_S, what="all ends are known")
        wait_until(lambda: follower.take() is not None, seconds=_WITHIN_S, what="a record came")
        follower.follow({1: 2})
        wait_until(lambda: follower.ends() == {1: 3}, seconds=_WITHIN_S, what="only what is followed has an end")
        world.writer.produce(ENTITY_ROWS, b"rows", partition=1)
        world.writer.flush()
        wait_until(lambda: follower.ends() == {1: 4}, seconds=_WITHIN_S, what="the end moves")
