"""A worker that was paused past its session and wakes: it believes that it owns what another one has taken over."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streams.checkpoint_format import generation_of
from streams.topics import ALERTS, DECISIONS
from tests.streams.kafka_world import World, eventually

_ROOT = Path(__file__).parents[2]


class Supervised:
    """A worker process with the stand-in engine, begun again whenever it ends as broken, as a supervisor does.

    One that is fenced off ends itself, and so does one that the embedded broker refuses at the end of a rebalance.
    """

    def __init__(self, world: World, name: str) -> None:
        text = json.dumps(world.as_json() | {"worker_name": name})
        self._command = [sys.executable, "-m", "tests.streams.worker_process", text]
        self._lock = threading.Lock()
        self._is_wanted = True
        self.process = subprocess.Popen(self._command, cwd=_ROOT)
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self._watching.start()

    def _watch(self) -> None:
        while True:
            self.process.wait()
            with self._lock:
                if not self._is_wanted or self.process.returncode != 1:
                    return
                self.process = subprocess.Popen(self._command, cwd=_ROOT)

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        with self._lock:
            self._is_wanted = False
        self.process.terminate()
        return self.process.wait(60)

    def kill(self) -> None:
        """End it, even if it is paused."""
        with self._lock:
            self._is_wanted = False
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGCONT)
            self.process.kill()
        self._watching.join()


@contextmanager
def worker(world: World, name: str) -> Iterator[Supervised]:
    """A worker; gone afterwards."""
    supervised = Supervised(world, name)
    try:
        yield supervised
    finally:
        supervised.kill()


def manifests(world: World) -> dict[Path, bytes]:
    """All objects of partitions' checkpoints, and what is in them."""
    root = Path(world.settings.checkpoint_url.removeprefix("file://"))
    found: dict[Path, bytes] = {}
    for number in range(world.settings.partitions):
        for path in (root / str(number)).rglob("*"):
            try:
                found[path] = path.read_bytes()
            except (FileNotFoundError, IsADirectoryError):
                continue  # a folder, or removed meanwhile
    return found


def check_first_decisions(world: World, sent: int) -> None:
    """The first decision of every offset counts each payment once; what comes later changes nothing."""
    first: dict[tuple[int, int], dict[str, object]] = {}
    for decision in world.values(DECISIONS):
        first.setdefault((decision["source"]["partition"], decision["source"]["offset"]), decision)
    assert len({decision["transaction_id"] for decision in first.values()}) == sent, "lost"
    by_card: dict[object, list[float]] = {}
    for decision in first.values():
        by_card.setdefault(decision["card_token"], []).append(float(str(decision["score"])))
    for card, scores in by_card.items():
        assert sorted(scores) == [number / 1000 for number in range(1, len(scores) + 1)], card
    frozen = {decision["transaction_id"] for decision in first.values() if decision["action"] == "FREEZE"}
    alerts = Counter(alert["transaction_id"] for alert in world.values(ALERTS))
    assert alerts.keys() == frozen


@pytest.mark.slow
def test_a_worker_that_was_paused_past_its_session_changes_nothing(world: World) -> None:
    """SIGSTOP under load, another one takes over, SIGCONT: no checkpoint overwritten, none lost, no offset set back."""

    async def story() -> None:
        sent = 0

        async def pay(records: int) -> None:
            nonlocal sent
            for _ in range(records):
                world.pay(f"t-{sent}", card=f"card-{sent % 20}", amount_minor=2_000_000 if sent % 97 == 0 else 100)
                sent += 1
            await asyncio.to_thread(world.writer.flush)

        def are_decided() -> bool:
            return len({decision["transaction_id"] for decision in world.values(DECISIONS)}) >= sent

        with worker(world, "w0") as paused:
            await pay(300)
            await eventually(are_decided, "the first worker answers")
            await eventually(lambda: bool(manifests(world)), "it has checkpointed")
            loading = asyncio.create_task(pay(500))
            await asyncio.sleep(0.3)
            os.kill(paused.process.pid, signal.SIGSTOP)
            await loading
            with worker(world, "w1") as owner:
                await eventually(are_decided, "the second one has taken over")
                await pay(300)
                await eventually(are_decided, "and goes on")
                before = manifests(world)
                newest = max(generation_of(path.parent.name) for path in before)
                os.kill(paused.process.pid, signal.SIGCONT)
                await pay(300)
                await eventually(are_decided, "with both of them awake")
                await pay(300)
                await eventually(are_decided, "and stays so")
                after = manifests(world)
                assert all(data == after[path] for path, data in before.items() if path in after), "overwritten"
                kept = [path for path in before if generation_of(path.parent.name) == newest]
                assert max(generation_of(path.parent.name) for path in after) >= newest
                assert kept
                for supervised in (owner, paused):
                    assert await asyncio.to_thread(supervised.stop) == 0
        # Whoever comes next finds a state that goes on where the last owner was.
        with worker(world, "w2"):
            await pay(200)
            await eventually(are_decided, "a third one goes on")
        check_first_decisions(world, sent)

    asyncio.run(story())
