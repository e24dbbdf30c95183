"""Rebalances in which whoever keeps a partition goes on with it, on aiokafka's coordinator (docs/decisions/0034).

By itself aiokafka gives everything up before it joins, so that one member that comes, goes or is slow stops all others
until the last of them has joined. Here a member goes on reading while it joins. When it knows its new partitions it

    1. prepares what it is to take over, while it still goes on with what it has;
    2. stops, brings in safety what it loses, and follows the new assignment: a matter of milliseconds;
    3. joins once more if it has lost something, so that others can be given it.

The leader deals so that nothing is given to anybody while another one has it (`streams.dealing`). Members say what they
have in the user data of aiokafka's range protocol, so that a version that knows nothing of this may be in the same
group: such a member gives everything up before it joins, and owns nothing. Where it leads it deals by range, without
our mark; whoever follows that gives everything up before it joins the next time, as it does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import msgspec
from aiokafka.consumer.group_coordinator import GroupCoordinator  # type: ignore[import-untyped]
from aiokafka.coordinator.assignors.range import RangePartitionAssignor  # type: ignore[import-untyped]
from aiokafka.coordinator.protocol import (  # type: ignore[import-untyped]
    ConsumerProtocolMemberAssignment,
    ConsumerProtocolMemberMetadata,
)
from aiokafka.errors import (  # type: ignore[import-untyped]
    RebalanceInProgressError,
    UnknownTopicOrPartitionError,
)
from aiokafka.protocol.commit import OffsetCommitRequest  # type: ignore[import-untyped]

from streams.dealing import NOTHING, Claim, deal
from streams.records import TopicPartition

# What an assignment says that was dealt so that nobody has to stop.
_MARK = b"cardwatch-1"
_VERSION = 0
_TAKEOVER_CHECK_S = 0.01


class Keeper(Protocol):
    """Who reads the partitions of a member; called from the coordinator's thread."""

    async def prepare(self, partitions: frozenset[TopicPartition], generation: int) -> None:
        """Get ready to take these over, while others are read on."""
        ...

    def stay(self, partitions: frozenset[TopicPartition]) -> None:
        """Of what is revoked next, these stay."""
        ...

    def is_taking_over(self) -> bool:
        """Whether what was assigned last is not taken over yet."""
        ...


class _Claim(msgspec.Struct):
    """What a member says of itself."""

    generation: int
    partitions: list[int]


class StayingAssignor:
    """Deals partitions as `deal` does; one for each member. An assignor of aiokafka's by its methods."""

    name = RangePartitionAssignor.name

    def __init__(self) -> None:
        """Own nothing."""
        self._claim = NOTHING
        self.was_marked = False

    def follow(self, generation: int, assignment: Any) -> None:
        """From now on own what is assigned."""
        self._claim = Claim(generation, frozenset(place.partition for place in assignment.partitions()))
        self.was_marked = is_marked(assignment)

    def give_up(self) -> None:
        """Own nothing any more."""
        self._claim, self.was_marked = NOTHING, False

    def metadata(self, topics: Iterable[str]) -> Any:
        """What this member says of itself when it joins."""
        claim = _Claim(self._claim.generation, sorted(self._claim.partitions))
        return ConsumerProtocolMemberMetadata(_VERSION, list(topics), msgspec.json.encode(claim))

    def assign(self, cluster: Any, members: Mapping[str, Any]) -> Any:
        """Deal, as the leader of the group. Topics that do not go together are dealt by range."""
        topics = {tuple(sorted(member.subscription)) for member in members.values()}
        numbers = {frozenset(cluster.partitions_for_topic(topic) or ()) for each in topics for topic in each}
        if len(topics) != 1 or len(numbers) != 1:
            return RangePartitionAssignor.assign(cluster, members)
        (names,), (partitions,) = topics, numbers
        dealt = deal(partitions, {name: _claim_of(member.user_data) for name, member in members.items()})
        return {
            name: ConsumerProtocolMemberAssignment(_VERSION, [(topic, mine) for topic in names], _MARK)
            for name, mine in dealt.items()
        }

    def on_assignment(self, assignment: Any) -> None:
        """Nothing: `follow` has it."""


def is_marked(assignment: Any) -> bool:
    """Whether an assignment was dealt so that nobody has to stop."""
    return bool(assignment.user_data == _MARK)


def _claim_of(user_data: bytes | None) -> Claim:
    """What a member owns; one of another version owns nothing."""
    try:
        said = msgspec.json.decode(user_data or b"", type=_Claim)
    except msgspec.DecodeError:
        return NOTHING
    return Claim(said.generation, frozenset(said.partitions))


class _Coordinator(GroupCoordinator):  # type: ignore[misc] # aiokafka has no types
    """A member of a group that deals out only what it knows, when it leads."""

    async def _perform_assignment(self, response: Any) -> Any:
        """Deal, once the topics are known.

        A look at them that failed is not repeated for minutes. A worker that starts while its broker does may lead the
        group with nothing but that, and would deal nothing to anybody; until it looked again, nobody would be answered.

        Raises:
            UnknownTopicOrPartitionError: they are not known for half a session; whoever leads then joins again.
        """
        topics = self._subscription.subscription.topics
        deadline_s = time.monotonic() + self._session_timeout_ms / 2000
        while not all(self._cluster.partitions_for_topic(topic) for topic in topics):
            if time.monotonic() > deadline_s:
                raise UnknownTopicOrPartitionError(", ".join(sorted(topics)))
            if not await self._client.force_metadata_update():
                await asyncio.sleep(self._retry_backoff_ms / 1000)
        return await super()._perform_assignment(response)


class _StayingCoordinator(_Coordinator):
    """A member of a group that goes on while it joins.

    Attributes:
        goes_on: in the join that is under way, or was last.
        joins: a request to join may be under way. The broker answers nothing that comes behind it on this connection
            until the group is dealt out.
    """

    assignor: StayingAssignor
    keeper: Keeper
    goes_on = False
    joins = False
    _thrown_out: asyncio.Future[None]
    _group_subscription: Any

    async def _on_join_prepare(self, previous_assignment: Any) -> None:
        # Two takeovers at a time are more than Faust can keep apart, and this one may ask the coordinator.
        while (goes_on := self._may_go_on(previous_assignment)) and self.keeper.is_taking_over():  # noqa: ASYNC110
            await asyncio.sleep(_TAKEOVER_CHECK_S)
        self.goes_on = goes_on
        self._thrown_out = asyncio.get_running_loop().create_future()
        if self._closing.done():
            return  # the last checkpoint is committed, or never will be
        if not goes_on:
            self.assignor.give_up()
            self.keeper.stay(frozenset())
            await super()._on_join_prepare(previous_assignment)
        self.joins = True

    def _may_go_on(self, previous_assignment: Any) -> bool:
        is_member = self.generation != OffsetCommitRequest.DEFAULT_GENERATION_ID and not self._closing.done()
        return is_member and previous_assignment is not None and self.assignor.was_marked

    async def _do_rejoin_group(self, subscription: Any) -> bool:
        if self._closing.done() or (self.goes_on and self.generation == OffsetCommitRequest.DEFAULT_GENERATION_ID):
            return False  # who was thrown out a moment ago and goes on has to stop first
        return bool(await super()._do_rejoin_group(subscription))

    async def _on_join_complete(
        self, generation: int, member_id: str, protocol: str, member_assignment_bytes: bytes
    ) -> None:
        self.joins = False
        assignment = ConsumerProtocolMemberAssignment.decode(member_assignment_bytes)
        before = self._subscription.subscription.assignment
        had = _places(before.tps) if self.goes_on else frozenset()
        has = _places(assignment.partitions())
        if self.goes_on:
            # What comes may take longer than the group waits for a sign of life.
            self._start_heartbeat_task()
            # Who deals by range has given to others what this member goes on with: there is no time to prepare.
            if is_marked(assignment) and not await self._prepare(has - had, generation):
                self.request_rejoin()
                return
            self.keeper.stay(has)
            led = self._group_subscription
            await super()._on_join_prepare(before)
            self._group_subscription = led
        await super()._on_join_complete(generation, member_id, protocol, member_assignment_bytes)
        self.assignor.follow(generation, assignment)
        if had - has and self.assignor.was_marked:
            self.request_rejoin()

    async def _prepare(self, partitions: frozenset[TopicPartition], generation: int) -> bool:
        """Let the keeper prepare; False where this member is thrown out or leaves meanwhile, and is to stop at once."""
        preparing = asyncio.ensure_future(self.keeper.prepare(partitions, generation))
        ends = [self._thrown_out, self._closing]
        await asyncio.wait([preparing, *ends], return_when=asyncio.FIRST_COMPLETED)
        return not any(end.done() for end in ends)

    async def _do_commit_offsets(self, assignment: Any, offsets: Any) -> None:
        """Commit, but not behind a request to join.

        It would be read as one of a generation that is over, and this member would take itself for thrown out.

        Raises:
            RebalanceInProgressError: a join may be under way.
        """
        if self.joins:
            raise RebalanceInProgressError
        await super()._do_commit_offsets(assignment, offsets)

    def reset_generation(self) -> None:
        super().reset_generation()
        if self.goes_on:
            # Thrown out of the group while joining it: what goes on has to stop first.
            self._performed_join_prepare = False
            if not self._thrown_out.done():
                self._thrown_out.set_result(None)


def _places(partitions: Iterable[Any]) -> frozenset[TopicPartition]:
    """Aiokafka's partitions as ours."""
    return frozenset(TopicPartition(place.topic, place.partition) for place in partitions)


def cooperate(consumer: Any, assignor: StayingAssignor, keeper: Keeper) -> None:
    """Let an aiokafka consumer, started and not yet subscribed, go on while it joins.

    Its coordinator becomes one of ours in place: aiokafka has no door through which to bring another one.
    """
    coordinator = consumer._coordinator  # noqa: SLF001
    coordinator.__class__ = _StayingCoordinator
    coordinator.assignor, coordinator.keeper = assignor, keeper


def know_first(consumer: Any) -> None:
    """Let an aiokafka consumer, started and not yet subscribed, deal out only what it knows; see `cooperate`."""
    consumer._coordinator.__class__ = _Coordinator  # noqa: SLF001
