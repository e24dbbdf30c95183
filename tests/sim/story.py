"""One seed played: an installation on the simulated world, payments, faults, and peace until everything is done."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry

from casework.adapters.memory_store import MemoryStore
from detector.vocabulary import Action
from streams import producer
from streams.app import Role
from streams.encoding import Subject, Versions, encode_late
from streams.errors import StreamsError
from streams.metrics import StreamMetrics
from streams.records import ReadRecord, TopicPartition
from streams.respond import RespondRole
from streams.score import ScoreRole
from streams.settings import StreamSettings
from streams.topics import ALERTS, DECISIONS, LABELS, MODELS, TRANSACTIONS
from tests.casework.examples import desk_on
from tests.sim.cores import SimCore
from tests.sim.files import URL, SimFiles
from tests.sim.group import SimDoors, SimGroup
from tests.sim.kafka import SimLogs
from tests.sim.people import Person
from tests.sim.plan import Fault, FaultKind, Plan
from tests.sim.redis import reached_from
from tests.sim.world import EPOCH_MS, Chances, Process, World
from tests.streams.stand_in import KEY, POISON_CURRENCY

_SHARDS = 4
_OUTBOX_LIMIT = 5_000
_SUPERVISED_S = 0.4
_PEACE_S = 400.0
_LOOKS_S = 0.25
_ZOMBIE_LOOKS_S, _ZOMBIE_WAITS_S = 0.005, 3.0
_METRICS = StreamMetrics(CollectorRegistry())


@dataclass
class Slot:
    """A place for a process: the supervisor fills it again when the process has ended."""

    name: str
    role: str
    is_wanted: bool = True
    process: Process | None = None
    score: ScoreRole | None = None
    core: SimCore | None = None
    doors: SimDoors | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)


class Story:
    """An installation of a plan.

    Attributes:
        complaints: what must never happen, and did on the way.
    """

    def __init__(self, plan: Plan, new_core: Callable[[], SimCore] = SimCore) -> None:
        """Set up; nothing runs yet."""
        self.plan = plan
        self.world = World(plan.seed, plan.chances)
        self.logs = SimLogs(self.world, plan.partitions)
        self.groups = {
            "score": SimGroup(self.world, (TRANSACTIONS, LABELS), plan.partitions, plan.session_s),
            "respond": SimGroup(self.world, (ALERTS,), plan.partitions, plan.session_s),
        }
        self.redis = MemoryStore(_SHARDS, _OUTBOX_LIMIT)
        self.slots = [Slot(f"{role}-{n}", role) for role, many in plan.workers.items() for n in range(many)]
        self.people: list[Person] = []
        self.complaints: list[str] = []
        self._new_core = new_core
        self._lives = 0
        self._models = 0
        self._is_peace = False
        self._unsent = 0
        SimFiles.begin(self.world)

    def play(self) -> None:
        """Play the whole story, to the moment where one worker alone holds all of it."""
        self._schedule()
        self._supervise()
        self.world.every(_SUPERVISED_S, self._supervise)
        self.world.run(lambda: self.world.now_s > self.plan.duration_s + 2.0, self.plan.duration_s + 2.5)
        self._peace("after the faults")
        self._start_alone()
        self._peace("one worker alone")

    def play_undisturbed(self, logs: SimLogs, now_s: float) -> None:
        """Let one worker read the input of another story, later, with nothing going wrong."""
        self.world.chances = Chances()
        self.world.now_s = now_s
        self.logs.take_input(logs)
        self.slots = [Slot("score-alone", "score"), Slot("respond-alone", "respond")]
        self._supervise()
        self._peace("undisturbed")

    def owner(self) -> Slot:
        """The only score worker at the end."""
        (slot,) = (slot for slot in self.slots if slot.role == "score" and slot.is_wanted)
        return slot

    def _peace(self, when: str) -> None:
        """Nothing goes wrong any more: everything must be done in time."""
        self.world.chances = Chances()
        self.world.deaths_left = 0
        self._is_peace = True
        looked_s = -1.0

        def is_done() -> bool:
            nonlocal looked_s
            if self.world.now_s - looked_s < _LOOKS_S:
                return False
            looked_s = self.world.now_s
            return self._is_done()

        if not self.world.run(is_done, self.world.now_s + _PEACE_S):
            self.complaints.append(f"not done {when}: {self._undone()}")

    # ------------------------------------------------------------------------------------------------ processes

    def _supervise(self) -> None:
        """Start what has ended."""
        for slot in self.slots:
            if slot.process is not None and slot.process.failure is not None:
                self.complaints.append(f"{slot.process.name}: {slot.process.failure!r}")
                slot.process.failure = None
            if slot.is_wanted and (slot.process is None or not slot.process.is_alive):
                self._start(slot)

    def _start(self, slot: Slot) -> None:
        self._lives += 1
        skew_ms = self.plan.skews_ms[self._lives % len(self.plan.skews_ms)]
        process = self.world.process(f"{slot.name}/{self._lives}", skew_ms)
        slot.process, slot.stop = process, asyncio.Event()
        settings = StreamSettings(
            "simulated:9092", URL, KEY, worker_name=slot.name, partitions=self.plan.partitions,
            batch_rows=self.plan.batch_rows, checkpoint_interval_s=self.plan.checkpoint_interval_s,
            session_timeout_s=self.plan.session_s, relay_interval_s=0.2, share_entities=self.plan.shares,
        )  # fmt: skip
        slot.doors = SimDoors(self.logs, self.groups, process)
        role: Role
        if slot.role == "score":
            slot.core = self._new_core()
            role = slot.score = ScoreRole(slot.core, settings, _METRICS, process.clock_ms, slot.doors)
        else:
            desk = desk_on(reached_from(process, self.redis))
            role = RespondRole(desk, settings, _METRICS, process.clock_ms, slot.doors)
        process.run(_live(role, slot.stop))

    def _start_alone(self) -> None:
        """Kill -9 or stop all score workers; the last one reads everything back from what is saved."""
        for slot in self.slots:
            if slot.role == "score":
                slot.is_wanted = False
            if slot.role == "score" and slot.process is not None and slot.process.is_alive:
                if self.world.rng.random() < 0.5:
                    slot.process.kill()
                else:
                    slot.stop.set()
        self.world.run(lambda: False, self.world.now_s + self.plan.session_s + 8.0)
        for slot in self.slots:
            if not slot.is_wanted and slot.process is not None:
                slot.process.kill()
        self.slots.append(Slot("score-alone", "score"))
        self._supervise()

    def _inflict(self, fault: Fault) -> None:
        """Do to a process what the plan says."""
        if self._is_peace:
            return
        slots = [slot for slot in self.slots if slot.role == fault.role]
        slot = slots[fault.number % len(slots)]
        self.world.note(f"{fault.kind.name} {slot.name}")
        if fault.kind is FaultKind.JOIN:
            self.slots.append(Slot(f"{fault.role}-{len(self.slots)}", fault.role))
        elif slot.process is None or not slot.process.is_alive:
            return
        elif fault.kind is FaultKind.KILL:
            slot.process.kill()
        elif fault.kind is FaultKind.PAUSE:
            slot.process.pause(fault.duration_s)
        elif fault.kind is FaultKind.ZOMBIE:
            self._make_zombie(slot, slot.process, self.world.now_s + _ZOMBIE_WAITS_S)
        else:
            slot.stop.set()

    def _make_zombie(self, slot: Slot, process: Process, latest_s: float) -> None:
        """Stop a process in the middle of its answers; see `FaultKind.ZOMBIE`."""
        world = self.world
        if self._is_peace:
            return
        if process.is_alive and world.now_s < latest_s and slot.doors is not None and slot.doors.connection.is_empty:
            world.after(_ZOMBIE_LOOKS_S, lambda: self._make_zombie(slot, process, latest_s))
            return
        asleep_s = self.plan.session_s + world.rng.uniform(0.6, 4.0)
        process.pause(asleep_s)
        world.note(f"{process.name} sleeps in the middle of its answers")
        self.slots.append(Slot(f"{slot.role}-{len(self.slots)}", slot.role))
        world.after(world.rng.uniform(0.0, asleep_s), self._publish_model)

        def kill_others() -> None:
            for other in () if self._is_peace else self.slots:
                if other.role == slot.role and other is not slot and other.process is not None:
                    other.process.kill()

        world.after(asleep_s + world.rng.uniform(0.1, 2.0), kill_others)

    def _publish_model(self) -> None:
        self._models += 1
        self.logs.append(MODELS, 0, b"model", f"m-{self._models:06d}".encode())

    # ------------------------------------------------------------------------------------------------ input

    def _schedule(self) -> None:
        """Plan what comes from outside."""
        rng, plan, world = self.world.rng, self.plan, self.world
        for number in range(plan.payments):
            at_s = rng.uniform(0.0, plan.duration_s)
            payment = self._payment(number)
            self._send_later(at_s, payment)
            if rng.random() < plan.duplicates:
                # The very same record: one that was labelled and comes again mended would be labelled or not by
                # which is read first. What is drawn for it is drawn all the same.
                self._payment(number)
                self._send_later(at_s + rng.uniform(0.0, 3.0), payment)
        for at_s in plan.models_at_s:
            world.after(at_s, self._publish_model)
        for fault in plan.faults:
            world.after(fault.at_s, partial(self._inflict, fault))
        for number in range(plan.commands):
            person = Person(world, self.redis, number, plan.cards)
            self.people.append(person)
            world.after(rng.uniform(1.0, plan.duration_s), person.begin)

    def _payment(self, number: int) -> tuple[bytes, bytes]:
        """A payment as a payment system writes it."""
        rng = self.world.rng
        card = f"card-{number * 7 % self.plan.cards}"
        if rng.random() < self.plan.broken / 2:
            return card.encode(), b'{"transaction_id": '
        record: dict[str, Any] = {
            "transaction_id": f"t-{number}", "card_token": card, "event_time_ms": EPOCH_MS + number,
            "amount_minor": (number * 7919 % 100) * 10_000,
            "currency": POISON_CURRENCY if rng.random() < self.plan.broken / 2 else "EUR",
        }  # fmt: skip
        return card.encode(), json.dumps(record).encode()

    def _send_later(self, at_s: float, payment: tuple[bytes, bytes]) -> None:
        self._unsent += 1

        def send() -> None:
            self._unsent -= 1
            key, value = payment
            record = self.logs.append(TRANSACTIONS, None, key, value)
            if value.endswith(b" "):
                return
            if self.world.rng.random() < self.plan.labelled:
                self._unsent += 1
                self.world.after(self.world.rng.uniform(0.5, 5.0), lambda: self._label(json.loads(value)))
            if self.world.rng.random() < self.plan.late:
                self.world.after(self.world.rng.uniform(0.02, 1.0), lambda: self._answer_late(record))

        self.world.after(at_s, send)

    def _answer_late(self, record: ReadRecord) -> None:
        """What the gateway writes where a caller's deadline comes first: see `streams.gateway`."""
        payment = json.loads(record.value or b"")
        subject = Subject(payment["transaction_id"], payment["card_token"], 0, record.partition, record.offset)
        late = encode_late(subject, Action.DECLINE, Versions("m", "p", "r", ()), EPOCH_MS)
        self.logs.append(DECISIONS, record.partition, late.key, late.value, ())

    def _label(self, payment: dict[str, Any]) -> None:
        """Label a payment once it is decided: nobody labels what has not been answered."""
        name = b'"transaction_id":"%s"' % str(payment["transaction_id"]).encode()
        if not any(name in (record.value or b"") for record in self.logs.all(DECISIONS)):
            self.world.after(1.0, lambda: self._label(payment))
            return
        self._unsent -= 1
        label = {
            "transaction_id": payment["transaction_id"], "card_token": payment["card_token"], "label": "fraud",
            "source": "agent", "label_time_ms": EPOCH_MS + int(self.world.now_s * 1000),
        }  # fmt: skip
        self.logs.append(LABELS, None, str(payment["card_token"]).encode(), json.dumps(label).encode())

    # ------------------------------------------------------------------------------------------------ the end

    def _is_done(self) -> bool:
        return not self._unsent and not self._undone()

    def _undone(self) -> list[str]:
        """What is still under way."""
        undone = [f"{self._unsent} records unsent"] if self._unsent else []
        owners: dict[int, int] = {}
        for slot in self.slots:
            if slot.process is None or not slot.process.is_alive:
                continue
            if slot.doors is not None and not slot.doors.connection.is_empty:
                undone.append(f"{slot.name} sends")
            if slot.score is not None:
                for number, owned in slot.score._ownership.partitions.items():
                    ends = [self.logs.end(TopicPartition(topic, number)) for topic in (TRANSACTIONS, LABELS)]
                    at = [owned.position.next_offset, owned.position.label_next_offset]
                    owners[number] = owners.get(number, 0) + (at == ends)
        if owners != dict.fromkeys(range(self.plan.partitions), 1):
            undone.append(f"partitions read to their ends: {owners}")
        waiting = sum(len(outbox) for outbox in self.redis._outboxes)
        answered = {known.outcome.alert_id for known in self.redis._recorded.values() if known.outcome is not None}
        alerts = {json.loads(record.value or b"")["alert_id"] for record in self.logs.all(ALERTS)}
        undone += [f"{waiting} entries in outboxes"] if waiting else []
        undone += [f"{len(alerts - answered)} alerts not handled"] if alerts - answered else []
        undone += [f"{person.number} waits" for person in self.people if not person.is_done]
        return undone


async def _live(role: Role, stop: asyncio.Event) -> None:
    """What `streams.app` does for one role, without looking after the collector of garbage."""
    stopper = asyncio.create_task(stop.wait())
    starting = asyncio.create_task(role.start())
    await asyncio.wait([starting, stopper], return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        return
    starting.result()
    broken = asyncio.create_task(role.wait_broken())
    await asyncio.wait([broken, stopper], return_when=asyncio.FIRST_COMPLETED)
    with contextlib.suppress(StreamsError):
        await role.stop()


@contextlib.contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """Names drawn at random come from the seed; and nobody looks for acknowledgements a thousand times a second."""
    before, back_off_s = uuid.uuid4, producer._BACK_OFF_S
    rng = random.Random(f"names {seed}")
    uuid.uuid4 = lambda: uuid.UUID(int=rng.getrandbits(128))
    producer._BACK_OFF_S = 0.02
    try:
        yield
    finally:
        uuid.uuid4 = before
        producer._BACK_OFF_S = back_off_s
