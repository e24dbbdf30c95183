"""A simulated consumer group: members join, are silent, lose their partitions, and wake up believing otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence

from streams.cluster import ClusterFacts
from streams.dealing import NOTHING, Claim, deal
from streams.producer import Producer
from streams.records import RawRecord, ReadRecord, TopicPartition
from streams.recovery import OpenTails
from streams.tasks import end_tasks
from streams.topics import ENTITY_ROWS, LABELS, MODELS, TRANSACTIONS
from streams.turns import BatchHandler, PreparingHandler, Result, Turns
from tests.sim.kafka import SimConnection, SimLogs
from tests.sim.world import Process, World

_JOIN_LOOKS_S = 0.05
_HEARTBEAT_S = 0.15
_REBALANCE_S = 4.0
_GROUP_LOOKS_S = 0.2
_FETCHED_AT_MOST = 60
_DELIVERY_TIMEOUT_S = 30.0


class SimGroup:
    """A group's coordinator, and its leader: members say what they own when they join, and all is dealt anew.

    Some roles give everything up before they join, as Faust does; others go on meanwhile (`streams.cooperation`).
    """

    def __init__(self, world: World, topics: tuple[str, ...], partitions: int, session_s: float) -> None:
        """A group over some topics that are partitioned alike."""
        self._world = world
        self._topics = topics
        self._partitions = partitions
        self._session_s = session_s
        self._members: dict[SimShell, frozenset[TopicPartition]] = {}
        self._joining: dict[SimShell, Claim] = {}
        self._deadline_s: float | None = None
        self.generation = 0
        self.committed: dict[TopicPartition, int] = {}
        world.every(_GROUP_LOOKS_S, self._look)

    def join(self, member: SimShell, claim: Claim) -> None:
        """Ask for partitions, beside those that it owns; everybody else is asked to come as well."""
        self._joining[member] = claim
        self._begin()

    def leave(self, member: SimShell) -> None:
        """Give everything back."""
        self._joining.pop(member, None)
        if self._members.pop(member, None) is not None:
            self._begin()

    def is_current(self, member: SimShell, generation: int) -> bool:
        """Whether a member of a generation is one still, and nobody asks for anything."""
        return self._deadline_s is None and self.generation == generation and member in self._members

    def knows(self, member: SimShell) -> bool:
        """Whether it is a member, or about to become one."""
        return member in self._members or member in self._joining

    def assignment(self, member: SimShell) -> frozenset[TopicPartition] | None:
        """A member's partitions, once all have joined."""
        return None if self._deadline_s is not None or member in self._joining else self._members.get(member)

    def awaits(self, member: SimShell) -> bool:
        """Whether a rebalance is under way in which it has not joined."""
        return self._deadline_s is not None and member not in self._joining

    def commit(self, member: SimShell, generation: int, offsets: Mapping[TopicPartition, int]) -> bool:
        """Take offsets from a member of this generation, and from nobody else."""
        if generation != self.generation or member not in self._members:
            return False
        self.committed |= offsets
        return not self._world.chance(self._world.chances.lost_answer)

    def _begin(self) -> None:
        if self._deadline_s is None:
            self._deadline_s = self._world.now_s + _REBALANCE_S

    def _look(self) -> None:
        """Drop who is silent; end a rebalance when all are there, or too late."""
        silent = [m for m in self._members if self._world.now_s - m.process.seen_s > self._session_s]
        for member in silent:
            del self._members[member]
            self._joining.pop(member, None)
            self._world.note(f"{member.process.name} has lost its partitions")
            self._begin()
        self._joining = {member: claim for member, claim in self._joining.items() if member.process.is_alive}
        if self._deadline_s is None:
            return
        if self._members.keys() <= self._joining.keys() or self._world.now_s > self._deadline_s:
            self._deal()

    def _deal(self) -> None:
        """Deal partitions out: partition p of every topic goes to one member."""
        self._deadline_s = None
        self.generation += 1
        members = {member.process.name: member for member in self._joining}
        numbers = deal(range(self._partitions), {member.process.name: each for member, each in self._joining.items()})
        self._joining = {}
        self._members = {
            member: frozenset(TopicPartition(topic, number) for topic in self._topics for number in numbers[name])
            for name, member in members.items()
        }
        dealt = {member.process.name: len(given) for member, given in self._members.items()}
        self._world.note(f"generation {self.generation} of {self._topics[0]}: {dealt}")


class SimShell:
    """A role's membership: what `StreamShell` is with Faust. See `streams.doors.Shell` and `streams.turns`."""

    def __init__(self, role: str, group: SimGroup, logs: SimLogs, process: Process, handler: BatchHandler) -> None:
        """A member of `group` that reads `logs`."""
        self.process = process
        self.turns = Turns(role, handler)
        self._goes_on = isinstance(handler, PreparingHandler)
        self._claim = NOTHING
        self._group = group
        self._logs = logs
        self._generation = -1
        self._flows = False
        self._positions: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(self._belong()), asyncio.create_task(self._fetch_for_ever())]

    async def stop(self) -> None:
        self.turns.interrupt()
        await end_tasks(self._tasks)
        self._flows = False
        await self.turns.stop()
        self._group.leave(self)

    async def wait_broken(self) -> None:
        await self.turns.wait_broken()

    async def break_down(self, error: BaseException) -> None:
        await self.turns.break_down(error)

    async def alone(self, work: Awaitable[Result]) -> Result:
        return await self.turns.alone(work)

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> bool:
        self.process.operation()
        await asyncio.sleep(self.process.world.delay_s())
        self.process.operation()
        done = self._group.commit(self, self._generation, offsets)
        self.process.operation()
        return done

    def lag(self) -> dict[TopicPartition, int]:
        known = (place for place in self.turns.taken if place in self._ends)
        return {place: max(0, self._ends[place] - self.turns.next_offsets.get(place, 0)) for place in known}

    def flows(self) -> bool:
        return self._flows

    def generation(self) -> int:
        return self._generation

    async def find(self, partition: TopicPartition, offset: int) -> int | None:
        await asyncio.sleep(self.process.world.delay_s())
        found = self._logs.read(partition, offset, 1)
        self._positions[partition] = found[0].offset if found else offset
        return found[0].offset if found else None

    async def _belong(self) -> None:
        """Join, take over, be asked to join again."""
        try:
            while True:
                partitions = await self._joined()
                generation, lost = self._group.generation, self.turns.taken - partitions
                await self.turns.prepare(partitions - self.turns.taken, generation)
                self._flows = False
                await self.turns.give_up(lost)
                self._generation = generation
                positions = await self.turns.take_over(partitions, generation)
                self._seek(partitions, positions)
                self._claim = Claim(generation, frozenset(place.partition for place in partitions))
                self._flows = True
                while not lost and self._group.is_current(self, generation):  # noqa: ASYNC110 - as heartbeats do
                    await asyncio.sleep(_HEARTBEAT_S)
                if not (self._goes_on and self._group.knows(self)):
                    await self._give_up_all()
        except Exception as error:  # noqa: BLE001 - told to the owner of the role
            await self.turns.break_down(error)

    async def _joined(self) -> frozenset[TopicPartition]:
        """Join, and wait for what is dealt."""
        self._group.join(self, self._claim)
        while True:
            await asyncio.sleep(_JOIN_LOOKS_S)
            if not self._group.knows(self):  # silent for too long while it waited
                await self._give_up_all()
                self._group.join(self, self._claim)
            if self._group.awaits(self):  # dealt anew before it has heard its part: Kafka sends it back to join
                self._group.join(self, self._claim)
            partitions = self._group.assignment(self)
            if partitions is not None:
                if not self.process.world.chance(self.process.world.chances.lost_assignment):
                    return partitions
                self._group.join(self, self._claim)

    async def _give_up_all(self) -> None:
        """Own nothing any more."""
        self._flows = False
        self._claim = NOTHING
        await self.turns.give_up(self.turns.taken)

    def _seek(self, partitions: frozenset[TopicPartition], wanted: Mapping[TopicPartition, int | None]) -> None:
        """Go on where the role says, or at the committed offset, or at the beginning."""
        for place in partitions:
            at = wanted.get(place)
            self._positions[place] = self._group.committed.get(place, 0) if at is None else at
            self.turns.next_offsets.setdefault(place, self._positions[place])
            self._ends.pop(place, None)

    async def _fetch_for_ever(self) -> None:
        """Fetch and deliver."""
        try:
            while True:
                await asyncio.sleep(0.01 + self.process.world.delay_s())
                fetched = self._fetch() if self._flows else {}
                if fetched:
                    await self.turns.hand_over(fetched, self)
                else:
                    await asyncio.sleep(_HEARTBEAT_S)
        except Exception as error:  # noqa: BLE001 - told to the owner of the role
            await self.turns.break_down(error)

    def _fetch(self) -> dict[TopicPartition, Sequence[RawRecord]]:
        """Some records of some partitions."""
        rng = self.process.world.rng
        places = sorted(self.turns.taken)
        rng.shuffle(places)
        fetched: dict[TopicPartition, Sequence[RawRecord]] = {}
        for place in places[: rng.randint(1, max(1, len(places)))]:
            self._ends[place] = self._logs.end(place)
            records = self._logs.read(place, self._positions[place], rng.randint(1, _FETCHED_AT_MOST))
            if records:
                self._positions[place] = records[-1].offset + 1
                is_last = self._positions[place] == self._ends[place]
                # What ends a log for the time being would be noticed only with the next record, or by a watchdog.
                if is_last or not self.process.world.chance(self.process.world.chances.lost_fetch):
                    fetched[place] = list(records)
        return fetched


class SimBroadcasts:
    """See `streams.doors.Broadcasts`."""

    def __init__(self, topics: tuple[str, ...], logs: SimLogs, world: World) -> None:
        """Read `topics` from their beginning."""
        self._logs = logs
        self._world = world
        self._next = {TopicPartition(topic, n): 0 for topic in topics for n in range(logs.partitions_of(topic))}
        self._waits = True

    def start(self) -> None:
        """Nothing has to be started."""

    def wait_caught_up(self) -> None:
        self._waits = False

    def take(self) -> list[ReadRecord]:
        if self._waits and self._world.rng.random() < 0.5:
            return []  # not here yet
        self._waits = True
        taken: list[ReadRecord] = []
        for place, start in self._next.items():
            if self._logs.end(place) > start:
                taken += self._logs.read(place, start)
                self._next[place] = self._logs.end(place)
        models = [record for record in taken if record.topic == MODELS]
        return [record for record in taken if record.topic != MODELS] + models[-1:]

    def close(self) -> None:
        """Nothing is open."""


class SimFollower:
    """See `streams.doors.Follower`: records come in their order, and none before its time."""

    def __init__(self, logs: SimLogs, world: World) -> None:
        """Follow nothing yet."""
        self._logs = logs
        self._world = world
        self._next: dict[int, int] = {}

    def start(self) -> None:
        """Nothing has to be started."""

    def follow(self, positions: Mapping[int, int]) -> None:
        self._next = dict(positions)

    def take(self) -> ReadRecord | None:
        for number, start in self._next.items():
            found = self._logs.read(TopicPartition(ENTITY_ROWS, number), start, 1)
            if found and self._world.rng.random() < 0.7:
                self._next[number] = found[0].offset + 1
                return found[0]
        return None

    def ends(self) -> Mapping[int, int]:
        return {number: self._logs.end(TopicPartition(ENTITY_ROWS, number)) for number in self._next}

    def close(self) -> None:
        """Nothing is open."""


class SimDoors:
    """See `streams.doors.Doors`: what a process reaches the simulated Kafka through."""

    def __init__(self, logs: SimLogs, groups: Mapping[str, SimGroup], process: Process) -> None:
        """Doors of `process`."""
        self._logs = logs
        self._groups = groups
        self._process = process
        self.connection = SimConnection(logs, process)

    def producer(self) -> Producer:
        return Producer(lambda _: self.connection, _DELIVERY_TIMEOUT_S)

    def broadcasts(self, topics: tuple[str, ...]) -> SimBroadcasts:
        return SimBroadcasts(topics, self._logs, self._process.world)

    def follower(self) -> SimFollower:
        return SimFollower(self._logs, self._process.world)

    def shell(self, role: str, topics: tuple[str, ...], handler: BatchHandler) -> SimShell:  # noqa: ARG002
        return SimShell(role, self._groups[role], self._logs, self._process, handler)

    def look_at(self, topics: tuple[str, ...], producer: Producer) -> ClusterFacts:  # noqa: ARG002
        ids = {TRANSACTIONS: "transactions", LABELS: "labels"}
        return ClusterFacts("simulated", ids, self._logs.partitions_of(TRANSACTIONS))

    @property
    def open_tails(self) -> OpenTails:
        return self._logs.open_tails
