"""The simulated world: one clock, processes stepped in an order a seed chooses, and what may happen to them."""

from __future__ import annotations

import asyncio
import heapq
import math
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from itertools import count
from typing import Any

from streams.errors import StreamsError
from tests.sim.loop import ProcessDiedError, SimLoop

EPOCH_MS = 1_790_000_000_000


@dataclass(frozen=True)
class Chances:
    """What may go wrong in a seed; chances are for each operation of its kind.

    Attributes:
        deaths: a process dies at most this often at an operation of its own (others die at moments of the plan).
        die_at_operation: that it dies at an operation: a send, a write, a commit, a step in Redis.
        slow_s: the longest delay of anything that travels.
        lost_answer: that what was done is not confirmed: a commit of offsets, a step in Redis.
        refused_answer: that Redis does not do it and says so.
        refused_output: that a record is reported as not delivered, though it may be in the log.
        disk_full: that an object of a checkpoint cannot be written.
        gap: that an offset of the input is taken by no record.
        lost_assignment: that a member is not told what it was dealt, and joins once more.
        lost_fetch: that what a fetch brings is dropped on its way, and the next one goes on behind it.
    """

    deaths: int = 0
    die_at_operation: float = 0.0
    slow_s: float = 0.01
    lost_answer: float = 0.0
    refused_answer: float = 0.0
    refused_output: float = 0.0
    disk_full: float = 0.0
    gap: float = 0.0
    lost_fetch: float = 0.0
    lost_assignment: float = 0.0


class Process:
    """A process: a loop with a main coroutine, a clock of its own, and a supervisor that starts it again."""

    def __init__(self, world: World, name: str, skew_ms: int) -> None:
        """A process of `world` that lives as soon as `run` is called."""
        self.world = world
        self.name = name
        self.skew_ms = skew_ms
        self.is_alive = True
        self.paused_until_s = 0.0
        self.seen_s = world.now_s
        self.loop = SimLoop(lambda: world.now_s, self._in_thread)
        self.at_death: list[Callable[[], None]] = []
        self.failure: BaseException | None = None
        self._main: asyncio.Task[None] | None = None

    def clock_ms(self) -> int:
        """The wall clock of the machine it runs on."""
        return EPOCH_MS + int(self.world.now_s * 1000) + self.skew_ms

    def run(self, main: Coroutine[Any, Any, None]) -> None:
        """Begin."""
        self._main = self.loop.create_task(main)
        self._main.add_done_callback(self._ended)

    @property
    def is_paused(self) -> bool:
        return self.paused_until_s > self.world.now_s

    def pause(self, duration_s: float) -> None:
        """SIGSTOP, and SIGCONT later."""
        self.paused_until_s = self.world.now_s + duration_s

    def kill(self) -> None:
        """Kill -9."""
        if self.is_alive:
            self.is_alive = False
            self.loop.die()
            for consequence in self.at_death:
                consequence()
            self.world.note(f"{self.name} is dead")

    def operation(self) -> None:
        """The process is about to do something that others can see, or has just done it: it may die here.

        Raises:
            ProcessDiedError: it has died.
        """
        world = self.world
        if self.is_alive and world.deaths_left and world.rng.random() < world.chances.die_at_operation:
            world.deaths_left -= 1
            self.kill()
        if not self.is_alive:
            raise ProcessDiedError

    def _in_thread(self, work: Callable[[], None]) -> None:
        """Let a thread of this process do something."""

        def turn() -> None:
            if not self.is_alive:
                return
            if self.is_paused:
                self.world.after(self.paused_until_s - self.world.now_s, turn)
                return
            self.world.running = self
            try:
                work()
            except ProcessDiedError:
                self.kill()
            finally:
                self.world.running = None

        self.world.after(self.world.delay_s(), turn)

    def _ended(self, main: asyncio.Task[None]) -> None:
        """The main coroutine has ended: in order, by a failure that a supervisor would see, or by dying."""
        error = None if main.cancelled() else main.exception()
        if error is not None and not isinstance(error, StreamsError | ProcessDiedError):
            self.failure = error
        self.kill()


class World:
    """Everything there is.

    Attributes:
        now_s: the true time since the world began.
        running: the process one of whose threads runs now.
    """

    def __init__(self, seed: int, chances: Chances) -> None:
        """Begin at time 0 with nothing in it."""
        self.seed = seed
        self.rng = random.Random(seed)
        self.chances = chances
        self.deaths_left = chances.deaths
        self.now_s = 0.0
        self.processes: list[Process] = []
        self.running: Process | None = None
        self.history: list[str] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def note(self, what: str) -> None:
        """Remember what happened; the history of two runs of a seed is the same."""
        self.history.append(f"{self.now_s:10.4f} {what}")

    def after(self, delay_s: float, event: Callable[[], None]) -> None:
        """Let something happen later."""
        heapq.heappush(self._events, (self.now_s + delay_s, next(self._numbers), event))

    def every(self, interval_s: float, event: Callable[[], None]) -> None:
        """Let something happen again and again."""

        def again() -> None:
            event()
            self.after(interval_s, again)

        self.after(interval_s, again)

    def delay_s(self) -> float:
        """How long something travels: mostly short."""
        slow_s = self.chances.slow_s
        return self.rng.random() * (slow_s if self.rng.random() < 0.05 else min(slow_s, 0.02))

    def chance(self, probability: float) -> bool:
        return bool(probability) and self.rng.random() < probability

    def process(self, name: str, skew_ms: int) -> Process:
        """A new process."""
        made = Process(self, name, skew_ms)
        self.processes.append(made)
        self.note(f"{name} starts")
        return made

    def living(self) -> list[Process]:
        """Processes that are not dead; paused ones are among them."""
        return [process for process in self.processes if process.is_alive]

    def run(self, until: Callable[[], bool], limit_s: float) -> bool:
        """Let time pass until something is true, looked at whenever time moves on; False where the limit came first."""
        while self.now_s < limit_s:
            while self._events and self._events[0][0] <= self.now_s:
                heapq.heappop(self._events)[2]()
            ready, next_s = self._look()
            if ready:
                process = ready[0] if len(ready) == 1 else self.rng.choice(ready)
                process.seen_s = self.now_s
                process.loop.step()
                continue
            if until():
                return True
            if self._events:
                next_s = min(next_s, self._events[0][0])
            if next_s == math.inf:
                return False
            self.now_s = max(self.now_s, next_s)
        return False

    def _look(self) -> tuple[list[Process], float]:
        """Who has something to do now, and when somebody will have."""
        now_s = self.now_s
        ready: list[Process] = []
        next_s = math.inf
        some_died = False
        for process in self.processes:
            if not process.is_alive:
                some_died = True
            elif process.paused_until_s > now_s:
                next_s = min(next_s, process.paused_until_s)
            else:
                process.seen_s = now_s
                due_s = process.loop.due_s()
                if due_s <= now_s:
                    ready.append(process)
                elif due_s < next_s:
                    next_s = due_s
        if some_died:
            self.processes = self.living()
        return ready, next_s
