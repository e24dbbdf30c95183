"""What the batch seam does with Faust's threads that no role can see."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.types import TP

from streams.records import TopicPartition
from streams.seam import _BatchConsumer, _ConsumerThread

_OURS, _LOST = TP("payments", 0), TP("payments", 1)


class Consumer:
    """Knows what is assigned, and keeps seeks."""

    def __init__(self) -> None:
        self.sought: dict[TP, int] = {}

    def assignment(self) -> set[TP]:
        return {_OURS}

    def seek(self, partition: TP, offset: int) -> None:
        self.sought[partition] = offset


@pytest.mark.parametrize("flows", [True, False])
def test_a_fetch_that_ends_while_nothing_flows_is_put_back(monkeypatch: pytest.MonkeyPatch, *, flows: bool) -> None:
    """It may have waited through a rebalance and come behind its seek: dropped, these records would be lost."""
    brought = {tp: [SimpleNamespace(offset=offset) for offset in (7, 8)] for tp in (_OURS, _LOST)}

    async def fetch(*_: Any, **__: Any) -> Any:
        await asyncio.sleep(0)
        return brought

    monkeypatch.setattr(AIOKafkaConsumerThread, "_fetch_records", fetch)
    thread, consumer = _ConsumerThread.__new__(_ConsumerThread), Consumer()
    monkeypatch.setattr(thread, "consumer", SimpleNamespace(flow_active=flows), raising=False)
    assert asyncio.run(thread._fetch_records(consumer, None)) == (brought if flows else {})
    assert consumer.sought == ({} if flows else {_OURS: 7})


@pytest.mark.parametrize(("said", "start"), [({}, 7), ({TopicPartition(*_OURS): 3}, 3)])
def test_what_was_committed_does_not_wait_after_a_rebalance(
    monkeypatch: pytest.MonkeyPatch, said: dict[TopicPartition, int], start: int
) -> None:
    """Reading goes on where the handler says, else at what was committed: what is behind that is no lag, no stall."""

    async def takes_over(*_: Any) -> Any:
        return {**dict.fromkeys((TopicPartition(*_OURS), TopicPartition(*_LOST))), **said}

    async def finds_committed() -> Any:
        return {_OURS: 7, _LOST: None}

    async def seeks(_: Any) -> None:
        """Done."""

    consumer = _BatchConsumer.__new__(_BatchConsumer)
    for name, value in {
        "app": SimpleNamespace(shell=SimpleNamespace(turns=SimpleNamespace(take_over=takes_over))),
        "assignment": lambda: {_OURS, _LOST},
        "generation": lambda: 1,
        "seek_to_committed": finds_committed,
        "seek_wait": seeks,
    }.items():
        monkeypatch.setattr(consumer, name, value, raising=False)
    asyncio.run(consumer.perform_seek())
    assert consumer.next_offsets == {TopicPartition(*_OURS): start}
