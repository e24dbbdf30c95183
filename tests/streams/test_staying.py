"""A member that goes on while it joins, without a broker: what it does when something goes wrong on the way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.consumer.group_coordinator import GroupCoordinator  # type: ignore[import-untyped]
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment  # type: ignore[import-untyped]
from aiokafka.errors import RebalanceInProgressError  # type: ignore[import-untyped]
from aiokafka.structs import TopicPartition as AiokafkaPartition  # type: ignore[import-untyped]

from streams.cooperation import _MARK, StayingAssignor, _StayingCoordinator
from streams.records import TopicPartition
from streams.topics import TRANSACTIONS

_NOBODY = -1


class Keeper:
    """Notes what it is asked for."""

    def __init__(self) -> None:
        self.prepared: list[tuple[set[int], int]] = []
        self.staying: list[set[int]] = []
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.takes_over = False

    async def prepare(self, partitions: frozenset[TopicPartition], generation: int) -> None:
        self.prepared.append(({place.partition for place in partitions}, generation))
        await self.may_end.wait()

    def stay(self, partitions: frozenset[TopicPartition]) -> None:
        self.staying.append({place.partition for place in partitions})

    def is_taking_over(self) -> bool:
        return self.takes_over


class Member:
    """A coordinator of ours on a base that reaches no broker."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[str] = []
        self.keeper, self.assignor = Keeper(), StayingAssignor()
        self.coordinator: Any = _StayingCoordinator.__new__(_StayingCoordinator)
        for name in ("_on_join_prepare", "_on_join_complete", "_do_commit_offsets"):
            monkeypatch.setattr(GroupCoordinator, name, self._saying(name))
        monkeypatch.setattr(GroupCoordinator, "_do_rejoin_group", self._saying("_do_rejoin_group", answer=True))
        monkeypatch.setattr(GroupCoordinator, "_start_heartbeat_task", lambda _: self.said.append("heartbeat"))
        monkeypatch.setattr(GroupCoordinator, "request_rejoin", lambda _: self.said.append("rejoin"))
        for name, value in {
            "assignor": self.assignor, "keeper": self.keeper, "generation": 4, "member_id": "m",
            "_group_subscription": None, "_performed_join_prepare": True,
            "_closing": asyncio.get_running_loop().create_future(),
        }.items():  # fmt: skip
            setattr(self.coordinator, name, value)
        self.follow(4, {0, 1})

    def _saying(self, name: str, *, answer: bool | None = None) -> Any:
        async def said(*_: Any) -> bool | None:
            self.said.append(name)
            return answer

        return said

    def follow(self, generation: int, partitions: set[int], mark: bytes = _MARK) -> bytes:
        """What the member has from now on; as bytes."""
        dealt = ConsumerProtocolMemberAssignment(0, [(TRANSACTIONS, sorted(partitions))], mark)
        self.assignor.follow(generation, dealt)
        self.coordinator._subscription = self
        self.subscription = self
        self.assignment = self
        self.tps = {AiokafkaPartition(TRANSACTIONS, number) for number in partitions}
        return bytes(dealt.encode())

    async def join(self) -> None:
        await self.coordinator._on_join_prepare(self)

    async def complete(self, generation: int, partitions: set[int], mark: bytes = _MARK) -> None:
        dealt = ConsumerProtocolMemberAssignment(0, [(TRANSACTIONS, sorted(partitions))], mark)
        await self.coordinator._on_join_complete(generation, "m", "range", dealt.encode())


def test_it_prepares_what_comes_keeps_what_stays_and_joins_again_for_what_it_loses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story() -> Member:
        member = Member(monkeypatch)
        await member.join()
        assert member.said == []
        await member.complete(5, {1, 2})
        return member

    member = asyncio.run(story())
    assert member.keeper.prepared == [({2}, 5)]
    assert member.keeper.staying == [{1, 2}]
    assert member.said == ["heartbeat", "_on_join_prepare", "_on_join_complete", "rejoin"]


def test_it_does_not_join_before_it_has_taken_over_what_it_got_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """The takeover may ask the coordinator, who answers nothing on a connection on which a join waits."""

    async def story() -> None:
        member = Member(monkeypatch)
        member.keeper.takes_over = True
        joining = asyncio.create_task(member.join())
        await asyncio.sleep(0.05)
        assert not joining.done()
        member.keeper.takes_over = False
        await joining
        assert member.coordinator.goes_on

    asyncio.run(story())


@pytest.mark.parametrize("while_it_waits", [True, False])
def test_who_is_thrown_out_gives_everything_up_before_it_joins(
    monkeypatch: pytest.MonkeyPatch,
    while_it_waits: bool,  # noqa: FBT001
) -> None:
    async def story() -> Member:
        member = Member(monkeypatch)
        if while_it_waits:
            member.keeper.takes_over = True
            joining = asyncio.create_task(member.join())
            await asyncio.sleep(0.03)
            member.coordinator.generation = _NOBODY
            await joining
        else:
            member.coordinator.generation = _NOBODY
            await member.join()
        assert not member.coordinator.goes_on
        return member

    member = asyncio.run(story())
    assert member.said == ["_on_join_prepare"]
    assert member.keeper.staying == [set()]
    assert not member.assignor.was_marked


def test_who_is_thrown_out_while_it_prepares_takes_nothing_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its partitions are dealt to others by now: it must not go on for as long as it reads."""

    async def story() -> Member:
        member = Member(monkeypatch)
        await member.join()
        member.keeper.may_end.clear()
        completing = asyncio.create_task(member.complete(5, {1, 2}))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        member.coordinator.reset_generation()
        await completing
        assert not member.coordinator._performed_join_prepare
        member.said.clear()
        await member.join()
        return member

    assert asyncio.run(story()).said == ["_on_join_prepare"]


def test_who_is_thrown_out_as_it_goes_to_join_stops_first(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        member = Member(monkeypatch)
        await member.join()
        assert await member.coordinator._do_rejoin_group(None)
        member.coordinator.reset_generation()
        member.said.clear()
        assert not await member.coordinator._do_rejoin_group(None)
        assert member.said == []

    asyncio.run(story())


def test_nothing_is_committed_behind_a_request_to_join(monkeypatch: pytest.MonkeyPatch) -> None:
    """The group has moved on when it is read: the broker would call it a commit of somebody who is no member."""

    async def story() -> None:
        member = Member(monkeypatch)
        await member.coordinator._do_commit_offsets(None, {})
        await member.join()
        with pytest.raises(RebalanceInProgressError):
            await member.coordinator._do_commit_offsets(None, {})
        await member.complete(5, {0, 1})
        await member.coordinator._do_commit_offsets(None, {})

    asyncio.run(story())


def test_who_leaves_joins_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither while it waits for its takeover, nor while it prepares."""

    async def story() -> Member:
        member = Member(monkeypatch)
        await member.join()
        member.keeper.may_end.clear()
        completing = asyncio.create_task(member.complete(5, {1, 2}))
        await asyncio.sleep(0)
        member.coordinator._closing.set_result(None)
        await completing
        member.keeper.takes_over = True
        await member.join()
        assert not await member.coordinator._do_rejoin_group(None)
        return member

    assert asyncio.run(story()).said == ["heartbeat", "rejoin"]


def test_what_a_leader_of_another_version_deals_is_followed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have given others what this member goes on with; the next time everything is given up."""

    async def story() -> Member:
        member = Member(monkeypatch)
        await member.join()
        await member.complete(5, {2}, mark=b"")
        return member

    member = asyncio.run(story())
    assert member.keeper.prepared == []
    assert member.said == ["heartbeat", "_on_join_prepare", "_on_join_complete"]
    assert not member.assignor.was_marked
