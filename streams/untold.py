"""What one endpoint is still to be told: events in hand, whom to ask next and when, and how far Kafka may be told.

Pure: time is an argument. Events of a card wait for those before them; a card whose event is not taken waits by itself,
and holds up no other. Where nothing at all is taken the endpoint counts as away: then one event asks for all, each time
another one, and one that has just come at once, so that an event which the endpoint cannot digest is not taken for the
endpoint being away.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from casework.webhooks import Answer, WebhookEvent
from streams.records import ReadRecord, TopicPartition

# With the pauses between them two and a half minutes: a receiver that is deployed anew answers 404 for a while.
MOST_REFUSALS = 6
# With the pauses between them an hour, in which the endpoint took others before each: it breaks on this event.
MOST_FAILURES_ALONE = 24


@dataclass(slots=True)
class Waiting:
    """An event in hand, and how it has gone so far.

    Attributes:
        attempts: how often the endpoint was asked.
        refusals, failures_alone: how often it did not want it, and did not answer for it although it took others.
        detail: its last answer.
        taken_before: how many events it had taken when it was last asked.
    """

    event: WebhookEvent
    record: ReadRecord
    attempts: int = 0
    refusals: int = 0
    failures_alone: int = 0
    detail: str = ""
    taken_before: int = 0

    @property
    def partition(self) -> TopicPartition:
        """Where it stands."""
        return TopicPartition(self.record.topic, self.record.partition)

    @property
    def is_hopeless(self) -> bool:
        """Whether it has been asked often enough."""
        return self.refusals >= MOST_REFUSALS or self.failures_alone >= MOST_FAILURES_ALONE


@dataclass(slots=True)
class Chain:
    """The events of a card, in their order.

    Attributes:
        due_s: when the endpoint may be asked about the first.
        failures: how often it has been asked in vain in a row.
    """

    card_token: str
    due_s: float
    events: deque[Waiting] = field(default_factory=deque)
    failures: int = 0


class Untold:
    """The events in hand of one endpoint.

    Attributes:
        is_away: whether it takes nothing.
    """

    def __init__(self, pause_of: Callable[[int], float]) -> None:
        """Begin with nothing; `pause_of` gives the seconds to wait after so many failures in a row."""
        self.is_away = False
        self._pause_of = pause_of
        self._chains: dict[str, Chain] = {}
        self._taken = 0
        self._failures, self._ask_again_s = 0, -math.inf
        self._ends: dict[TopicPartition, int] = {}
        self._left: dict[TopicPartition, set[int]] = {}

    def __len__(self) -> int:
        """How many events are in hand."""
        return sum(map(len, self._left.values()))

    def add(self, record: ReadRecord, event: WebhookEvent | None, now_s: float) -> None:
        """Take a record in hand; without an event there is nothing to tell of it."""
        partition = TopicPartition(record.topic, record.partition)
        self._ends[partition] = record.offset + 1
        if event is not None:
            self._left.setdefault(partition, set()).add(record.offset)
            chain = self._chains.setdefault(event.card_token, Chain(event.card_token, now_s))
            chain.events.append(Waiting(event, record))

    def due(self, now_s: float) -> list[Chain]:
        """The cards about which the endpoint may be asked now."""
        if not self.is_away:
            return [chain for chain in self._chains.values() if chain.due_s <= now_s]
        fresh = self._fresh()
        if fresh is not None:
            return [fresh]
        if now_s < self._ask_again_s or not self._chains:
            return []
        return [min(self._chains.values(), key=lambda chain: chain.due_s)]

    def next_s(self) -> float:
        """When somebody is due; infinity where nobody is."""
        if self.is_away and self._fresh() is None:
            return self._ask_again_s if self._chains else math.inf
        return min((chain.due_s for chain in self._chains.values()), default=math.inf)

    def _fresh(self) -> Chain | None:
        """A card about which the endpoint was not asked in vain yet: it may be away for the others alone."""
        return next((chain for chain in self._chains.values() if not chain.failures), None)

    def failed(self, chain: Chain, answer: Answer, now_s: float) -> None:
        """The first event of a chain was not taken."""
        waiting = chain.events[0]
        if answer is Answer.REFUSED:
            waiting.refusals += 1
        elif waiting.attempts > 1 and self._taken > waiting.taken_before:
            waiting.failures_alone += 1
        waiting.taken_before = self._taken
        chain.failures += 1
        chain.due_s = now_s + self._pause_of(chain.failures)

    def ended(self, chain: Chain, *, is_taken: bool) -> None:
        """The first event of a chain needs nothing more."""
        waiting = chain.events.popleft()
        self._left[waiting.partition].discard(waiting.record.offset)
        self._taken += is_taken
        chain.failures = 0
        if not chain.events:
            del self._chains[chain.card_token]

    def round_over(self, answers: Iterable[Answer], now_s: float) -> None:
        """Judge the endpoint by what it answered to all who were due."""
        seen = set(answers)
        if Answer.DELIVERED in seen or seen == {Answer.REFUSED}:
            self.is_away, self._failures = False, 0
        elif seen:
            self.is_away = True
            self._failures += 1
            self._ask_again_s = now_s + self._pause_of(self._failures)

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Others tell what stands in these partitions."""
        lost = set(partitions)
        for partition in lost:
            self._ends.pop(partition, None)
            self._left.pop(partition, None)
        for chain in list(self._chains.values()) if lost else []:
            chain.events = deque(waiting for waiting in chain.events if waiting.partition not in lost)
            if not chain.events:
                del self._chains[chain.card_token]

    def ends(self) -> dict[TopicPartition, int]:
        """The offset of each partition before which nothing is left to tell."""
        return {partition: min(self._left.get(partition) or {end}) for partition, end in self._ends.items()}

    def oldest_failed_ms(self) -> int | None:
        """When the oldest event happened that was not taken; None where what comes is taken."""
        return min((chain.events[0].event.time_ms for chain in self._chains.values() if chain.failures), default=None)
