"""What is delivered to a role, and what is not: every record once its turn has come, in order, and none left out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import WorkerError
from streams.records import RawRecord, TopicPartition
from streams.topics import TRANSACTIONS
from streams.turns import Turns
from tests.streams.raw_records import raw

PLACE = TopicPartition(TRANSACTIONS, 0)


class Member:
    """A group member that reads a log, whose fetches may be dropped; both are said offset by offset."""

    def __init__(self, offsets: list[int], start: int) -> None:
        self.offsets = offsets
        self.position = start

    def flows(self) -> bool:
        return True

    def generation(self) -> int:
        return 1

    async def find(self, partition: TopicPartition, offset: int) -> int | None:
        assert partition == PLACE
        self.position = min((at for at in self.offsets if at >= offset), default=offset)
        return self.position if self.position in self.offsets else None

    def fetch(self, most: int) -> Sequence[RawRecord]:
        found: list[RawRecord] = []
        found += [raw(b"", offset) for offset in self.offsets if offset >= self.position][:most]
        if found:
            self.position = found[-1].offset + 1
        return found


class Handler:
    """Notes what comes."""

    def __init__(self, start: int | None = 0, during: Callable[[], Awaitable[None]] | None = None) -> None:
        self.start = start
        self.seen: list[int] = []
        self.lost: list[frozenset[TopicPartition]] = []
        self.during = during

    async def assigned(
        self, partitions: frozenset[TopicPartition], generation: int
    ) -> Mapping[TopicPartition, int | None]:
        assert generation == 1
        if self.during is not None:
            await self.during()
        return dict.fromkeys(partitions, self.start)

    async def batch(self, partition: TopicPartition, records: Sequence[RawRecord]) -> None:
        assert partition == PLACE
        self.seen += [each.offset for each in records]

    async def revoked(self, partitions: frozenset[TopicPartition]) -> None:
        self.lost.append(partitions)

    async def stopping(self) -> None:
        raise NotImplementedError

    def interrupt(self) -> None:
        """Nothing is at hand."""


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=40),
    st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=60),
)
def test_a_fetch_that_is_dropped_is_fetched_again(steps: list[int], fetches: list[tuple[int, bool]]) -> None:
    """Wherever a fetch is lost on its way to the role, its records come, and in order; gaps of the log stay."""
    offsets = [sum(steps[: n + 1]) - 1 for n in range(len(steps))]

    async def story() -> list[int]:
        handler, member = Handler(), Member(offsets, 0)
        turns = Turns("score", handler)
        await turns.take_over(frozenset({PLACE}), 1)
        for most, is_dropped in fetches:
            found = member.fetch(most)
            is_last = not found or found[-1].offset == offsets[-1]
            if found and (is_last or not is_dropped):
                await turns.hand_over({PLACE: found}, member)
        while found := member.fetch(5):
            await turns.hand_over({PLACE: found}, member)
        return handler.seen

    assert asyncio.run(story()) == offsets


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=40),
    st.lists(st.tuples(st.integers(1, 9), st.sampled_from(["", "before", "after"]), st.booleans()), max_size=60),
)
def test_what_was_fetched_ahead_comes_once(steps: list[int], fetches: list[tuple[int, str, bool]]) -> None:
    """A fetch is made while the one before is handled; a takeover seeks back before or after, or drops it."""
    offsets = [sum(steps[: n + 1]) - 1 for n in range(len(steps))]

    async def story() -> list[int]:
        handler, member = Handler(), Member(offsets, 0)
        turns = Turns("score", handler)

        async def rebalance() -> None:
            handler.start = member.position = handler.seen[-1] + 1 if handler.seen else 0
            await turns.take_over(frozenset({PLACE}), 1)

        await rebalance()
        found = member.fetch(1)
        for most, rebalances, is_dropped in fetches:
            if rebalances == "before":
                await rebalance()
            ahead = member.fetch(most) if turns.follows({PLACE: found} if found else {}) else []
            if rebalances == "after":
                await rebalance()
            if found:
                await turns.hand_over({PLACE: found}, member)
            found = (ahead or member.fetch(most)) if not is_dropped else []
        await rebalance()
        while found:
            await turns.hand_over({PLACE: found}, member)
            found = member.fetch(5)
        while found := member.fetch(5):
            await turns.hand_over({PLACE: found}, member)
        return handler.seen

    assert asyncio.run(story()) == offsets


def test_what_comes_during_a_takeover_waits_for_its_end() -> None:
    """Faust may let records flow then: none is dropped, and none passes another one."""
    began, goes_on = asyncio.Event(), asyncio.Event()

    async def during() -> None:
        began.set()
        await goes_on.wait()

    async def story() -> list[int]:
        handler, member = Handler(during=during), Member(list(range(9)), 0)
        turns = Turns("score", handler)
        taking = asyncio.create_task(turns.take_over(frozenset({PLACE}), 1))
        await began.wait()
        first = asyncio.create_task(turns.hand_over({PLACE: member.fetch(3)}, member))
        behind = asyncio.create_task(turns.hand_over({PLACE: member.fetch(3)}, member))
        await asyncio.sleep(0)
        goes_on.set()
        await asyncio.gather(taking, first, behind)
        while found := member.fetch(9):
            await turns.hand_over({PLACE: found}, member)
        return handler.seen

    assert asyncio.run(story()) == list(range(9))


def test_a_rebalance_does_not_wait_for_a_look_at_the_log() -> None:
    """The look may wait for the end of that very rebalance."""

    class Slow(Member):
        async def find(self, partition: TopicPartition, offset: int) -> int | None:
            looking.set()
            await given_up.wait()
            return await super().find(partition, offset)

    looking, given_up = asyncio.Event(), asyncio.Event()

    async def story() -> tuple[list[int], list[frozenset[TopicPartition]]]:
        handler, member = Handler(), Slow(list(range(9)), 0)
        turns = Turns("score", handler)
        await turns.take_over(frozenset({PLACE}), 1)
        member.fetch(3)
        handing = asyncio.create_task(turns.hand_over({PLACE: member.fetch(3)}, member))
        await looking.wait()
        await asyncio.wait_for(turns.give_up(frozenset({PLACE})), 10)
        given_up.set()
        await handing
        return handler.seen, handler.lost

    assert asyncio.run(story()) == ([], [frozenset({PLACE})])


def test_nobody_doubts_where_nobody_has_said_where_to_begin() -> None:
    """A group without commits begins where the log does."""

    async def story() -> tuple[list[int], int]:
        handler, member = Handler(start=None), Member([5, 6, 9], 0)
        turns = Turns("respond", handler)
        await turns.take_over(frozenset({PLACE}), 1)
        await turns.hand_over({PLACE: member.fetch(2)}, member)
        return handler.seen, member.position

    assert asyncio.run(story()) == ([5, 6], 7)


def test_a_partition_that_is_given_up_while_it_is_taken_over_is_saved_and_gets_nothing() -> None:
    """The takeover ends, then the handler is told to save, as it is for what it had."""
    began = asyncio.Event()
    goes_on = asyncio.Event()

    async def during() -> None:
        began.set()
        await goes_on.wait()

    async def story() -> Handler:
        handler, member = Handler(during=during), Member([0, 1], 0)
        turns = Turns("score", handler)
        taking = asyncio.create_task(turns.take_over(frozenset({PLACE}), 1))
        await began.wait()
        giving = asyncio.create_task(turns.give_up(frozenset({PLACE})))
        await asyncio.sleep(0)
        goes_on.set()
        await taking
        assert not turns.taken
        await turns.hand_over({PLACE: member.fetch(2)}, member)
        await giving
        handler.during = None
        await turns.take_over(frozenset({PLACE}), 1)
        assert turns.taken == {PLACE}
        return handler

    handler = asyncio.run(story())
    assert (handler.seen, handler.lost) == ([], [frozenset({PLACE})])


def test_a_batch_that_waits_for_its_turn_is_dropped_when_its_partition_goes() -> None:
    """It has not begun: whoever has the partition next begins with it."""

    async def story() -> list[int]:
        handler, member = Handler(), Member([0, 1], 0)
        turns = Turns("score", handler)
        await turns.take_over(frozenset({PLACE}), 1)
        goes_on = asyncio.Event()
        other = asyncio.create_task(turns.alone(goes_on.wait()))
        await asyncio.sleep(0)
        handing = asyncio.create_task(turns.hand_over({PLACE: member.fetch(2)}, member))
        await asyncio.sleep(0)
        giving = asyncio.create_task(turns.give_up(frozenset({PLACE})))
        await asyncio.sleep(0)
        goes_on.set()
        await asyncio.gather(other, handing, giving)
        return handler.seen

    assert asyncio.run(story()) == []


def test_a_log_that_goes_back_is_noticed() -> None:
    """A topic that was made anew begins at 0: that is not what was read before, and is not passed over in silence."""

    async def story() -> tuple[list[int], str]:
        handler, member = Handler(start=100), Member([*range(100, 103)], 100)
        turns = Turns("respond", handler)
        await turns.take_over(frozenset({PLACE}), 1)
        await turns.hand_over({PLACE: member.fetch(9)}, member)
        member.offsets, member.position = list(range(90)), 0

        async def read_on() -> None:
            for _ in range(20):
                await turns.hand_over({PLACE: member.fetch(9)}, member)

        with pytest.raises(WorkerError) as failed:
            await read_on()
        return handler.seen, str(failed.value)

    seen, said = asyncio.run(story())
    assert seen == [100, 101, 102]
    assert f"{PLACE.topic}/0 was read up to offset 103" in said
    assert "Reset the offsets" in said
