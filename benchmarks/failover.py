"""How long partitions go unanswered when a score worker dies, leaves, joins or is restarted, on a real Kafka.

Three score workers answer a steady load; one of them is made to go or come, and the topics say what it cost: of each
payment the time from its record to its decision's. Partitions that had more than one owner meanwhile are told apart
from those that stayed where they were, by what the group's coordinator says several times a second.
"""

from __future__ import annotations

import json
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from benchmarks import results
from benchmarks.options import Options
from benchmarks.owners import STEADY_S, WITHIN_S, Owners, OwnersWatch
from streams.clock import epoch_ms
from streams.records import ReadRecord
from streams.settings import StreamSettings
from streams.topics import DECISIONS, TRANSACTIONS
from tests.faults.fleet import Fleet, Place
from tests.faults.load import Load
from tests.services.kafka_broker import running_kafka
from tests.services.process import wait_until
from tests.streams.kafka_world import World, real_world

NAME = "failover"
PURPOSE = "how long partitions go unanswered when a score worker dies, leaves, joins or is restarted"

_PARTITIONS = 12
_RATE_PER_S = 300.0
_SEED = 20261128
_WORKERS = ("s0", "s1", "s2")
_UNDER_WAY_MS = 1_000

HEAD = ("what happens to one of three score workers", "times", "partitions that move", "unanswered, s", "the others, s")


@dataclass(slots=True)
class Happened:
    """Something that was done to a worker, and who owned what since then.

    Attributes:
        event: what.
        start_ms: when; it counts until `stop_ms`.
        stop_ms: when all was steady again.
        owners: of all partitions, before it and as they changed.
    """

    event: str
    start_ms: int
    stop_ms: int = 0
    owners: list[Owners] = field(default_factory=list)

    def moved(self) -> set[int]:
        """Partitions that had more than one owner."""
        members: dict[int, set[str]] = {}
        for owners in self.owners:
            for partition, member in owners.items():
                members.setdefault(partition, set()).add(member)
        return {partition for partition, several in members.items() if len(several) > 1}


@dataclass(frozen=True, slots=True)
class Waited:
    """The longest that a payment waited for its answer, in milliseconds.

    Attributes:
        event: what happened when it came.
        moved: how many partitions had more than one owner.
        moved_ms: of their payments; 0 where there is none.
        stayed_ms: of those of all others.
    """

    event: str
    moved: int
    moved_ms: int
    stayed_ms: int


class _Trial:
    """The workers, what is done to them, and who owns what meanwhile."""

    def __init__(self, fleet: Fleet, world: World, options: Options) -> None:
        self._fleet = fleet
        self._options = options
        self._running = 0
        self.happened: list[Happened] = []
        self.watch = OwnersWatch(world.settings.bootstrap_servers, world.settings.group("score"), self._changed)

    def start(self) -> None:
        """Bring all workers up."""
        for name in _WORKERS:
            self._fleet.want(name, Place("score"))
        self._running = len(_WORKERS)
        self.watch.wait_steady(_PARTITIONS, self._running)

    def play(self) -> None:
        """Everything once."""
        self._do("kill -9, and it stays away", lambda: self._fleet.dismiss("s1", signal.SIGKILL), -1)
        self._do("one more joins", lambda: self._fleet.want("s1", Place("score")), 1)
        self._do("SIGTERM, and it stays away", lambda: self._fleet.dismiss("s2"), -1)
        self._do("one more joins", lambda: self._fleet.want("s2", Place("score")), 1)
        self._do("SIGTERM, and it is started again", self._restart, 0)
        self._do("kill -9, and it is started again", lambda: self._fleet.send("s1", signal.SIGKILL), 0)

    def _changed(self, owners: Owners) -> None:
        if self.happened:
            self.happened[-1].owners.append(owners)

    def _restart(self) -> None:
        self._fleet.dismiss("s0")
        self._fleet.want("s0", Place("score"))

    def _do(self, event: str, act: Callable[[], object], more: int) -> None:
        before = self.watch.owners
        happened = Happened(event, epoch_ms(), owners=[before])
        self.happened.append(happened)
        started_s = time.monotonic()
        act()
        self._running += more
        wait_until(lambda: self.watch.owners != before, seconds=WITHIN_S, what="owners change")
        self.watch.wait_steady(_PARTITIONS, self._running)
        # What came a moment ago may still wait when the next thing happens, and is not to be laid at this one's door.
        happened.stop_ms = epoch_ms() - _UNDER_WAY_MS
        self._options.say(f"{event}: steady after {time.monotonic() - started_s - STEADY_S:.1f} s")


def run(options: Options) -> None:
    """Measure, keep the results, and write the table."""
    with (
        tempfile.TemporaryDirectory(prefix="cardwatch-failover-") as name,
        running_kafka(Path(name, "kafka")) as kafka,
        real_world(kafka.bootstrap_servers, f"file://{name}/checkpoints", _PARTITIONS) as world,
    ):
        usual = StreamSettings("", "", world.settings.fingerprint_key)
        settings = replace(
            world.settings, share_entities=True, session_timeout_s=usual.session_timeout_s,
            checkpoint_interval_s=usual.checkpoint_interval_s, recovery_timeout_s=usual.recovery_timeout_s,
        )  # fmt: skip
        happened = _play(replace(world, settings=settings), Path(name), options)
        waited = judge(happened, world.read(TRANSACTIONS), world.read(DECISIONS))
    results.save(NAME, {"waited": [asdict(each) for each in waited]})
    results.write_section(NAME, f"{results.machine_lines(options.busy_before)}\n\n{table(waited)}")


def _play(world: World, folder: Path, options: Options) -> list[Happened]:
    """Do everything to workers under load; returns when all payments have been answered."""
    (folder / "points").mkdir()
    fleet = Fleet(world.settings, "", folder / "points", folder / "fleet.log")
    load, trial = Load(world.settings.bootstrap_servers, _RATE_PER_S, _SEED), _Trial(fleet, world, options)
    with fleet.running():
        trial.watch.start()
        load.start()
        try:
            trial.start()
            options.say(f"{len(_WORKERS)} workers answer {_RATE_PER_S:.0f} payments a second")
            trial.play()
        finally:
            load.finish()
            trial.watch.finish()
        wait_until(
            lambda: len(world.read(DECISIONS)) >= load.acknowledged, seconds=WITHIN_S, what="all payments are answered"
        )
    return trial.happened


def judge(
    happened: Sequence[Happened], payments: Sequence[ReadRecord], decisions: Sequence[ReadRecord]
) -> list[Waited]:
    """How long payments waited at most, by what happened when they came.

    Raises:
        KeyError: a payment was not answered.
    """
    answered_ms: dict[tuple[int, int], int] = {}
    for record in sorted(decisions, key=lambda record: (record.partition, record.offset)):
        source = json.loads(record.value or b"")["source"]
        answered_ms.setdefault((source["partition"], source["offset"]), record.timestamp)
    waited: list[Waited] = []
    for each in happened:
        moved, longest = each.moved(), {True: 0, False: 0}
        for record in payments:
            if each.start_ms <= record.timestamp < each.stop_ms:
                waited_ms = answered_ms[record.partition, record.offset] - record.timestamp
                has_moved = record.partition in moved
                longest[has_moved] = max(longest[has_moved], waited_ms)
        waited.append(Waited(each.event, len(moved), longest[True], longest[False]))
    return waited


def table(waited: Sequence[Waited]) -> str:
    """The longest of each kind of event."""
    rows = []
    for event in dict.fromkeys(each.event for each in waited):
        same = [each for each in waited if each.event == event]
        moved = sorted({each.moved for each in same})
        counts = f"{moved[0]}" if len(moved) == 1 else f"{moved[0]} to {moved[-1]}"
        longest = (max(each.moved_ms for each in same), max(each.stayed_ms for each in same))
        rows.append([event, str(len(same)), counts, *(f"{waited_ms / 1000:.1f}" for waited_ms in longest)])
    return results.table(HEAD, rows)
