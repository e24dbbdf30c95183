"""What was answered already: the tail of the output topics since the checkpoint (DESIGN, decision 4).

A worker that takes a partition over replays its source from the checkpoint. Everything that left cardwatch for those
records is in the output topics behind the positions that the checkpoint names. It is read back once:

- a decision that is there stands: the record is applied to state again, but not answered again;
- an alert whose decision is there, but whose copy is not, is sent, with the headers of its decision; and the other way
  round, for the two topics are acknowledged independently: either copy says everything;
- dead letters and examples that are there are not written twice.

What is said there about offsets that the checkpoint contains is passed over: all of it was acknowledged before the
checkpoint was written, but some of it may stand behind the positions that were known when the state was copied.

The former owner is gone by then: a graceful one has waited for its acknowledgements, a dead one has been silent for the
session timeout. One that only seems dead may still write; its decisions come later in the log and do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
from confluent_kafka import KafkaException

from detector.vocabulary import DEADLINE_PASSED, FLAG_NAMES, Action
from streams.dead_letters import origin_of
from streams.errors import RecoveryError
from streams.events import Outgoing
from streams.examples import LABELLED, MATURED, UNLABELLED, progress_of
from streams.plain_consumer import ends_of, plain_consumer, read_to
from streams.records import ReadRecord, TopicPartition
from streams.settings import StreamSettings
from streams.topics import ALERTS, DEAD_LETTERS, DECISIONS, EXAMPLES, LABELS, TRANSACTIONS

_ACTIONS = Action.by_wire()
_FLAG_BITS = {name: bit for bit, name in FLAG_NAMES}


class StandingDecision(NamedTuple):
    """The decision on a source offset that stands."""

    action: int
    score: float
    anomaly: float
    flags: int
    expected_loss_minor: int
    reasons: tuple[str, ...]
    rules: tuple[str, ...]


class _Source(msgspec.Struct):
    partition: int
    offset: int


class _Decision(msgspec.Struct):
    action: str
    score: float
    anomaly: float
    reasons: list[str]
    rules: list[str]
    flags: list[str]
    expected_loss_minor: int
    source: _Source


_decoder = msgspec.json.Decoder(_Decision)


@dataclass(slots=True)
class Answered:
    """What was answered for one source partition since its checkpoint.

    Attributes:
        decisions: the standing decision of each source offset.
        missing_copies: alerts and decisions to send again.
        dead_letters: (source topic, offset) of the records put aside.
        example_progress: kind of examples -> how far they were published; see `streams.examples`.
        positions: ("topic/partition") the offset behind what was read, of each output.
    """

    decisions: dict[int, StandingDecision] = field(default_factory=dict)
    missing_copies: list[Outgoing] = field(default_factory=list)
    dead_letters: set[tuple[str, int]] = field(default_factory=set)
    example_progress: dict[str, int] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)

    @property
    def last_decided(self) -> int:
        """The highest source offset that has a decision; -1 where none has."""
        return max(self.decisions, default=-1)

    def is_behind(self, next_offset: int, label_next_offset: int) -> bool:
        """Whether a state at these positions contains everything that was answered.

        Before that, a checkpoint must name the outputs' old positions: who takes over from it has the rest of what was
        answered to learn again.
        """
        next_offsets = {TRANSACTIONS: next_offset, LABELS: label_next_offset}
        return (
            self.last_decided < next_offset
            and all(offset < next_offsets[topic] for topic, offset in self.dead_letters if topic in next_offsets)
            and self.example_progress.get(UNLABELLED, 0) <= next_offset
            and self.example_progress.get(LABELLED, 0) <= label_next_offset
            and MATURED not in self.example_progress
        )


def output_name(partition: TopicPartition) -> str:
    """How a checkpoint names an output partition."""
    return f"{partition.topic}/{partition.partition}"


def outputs_of(partition: int) -> tuple[TopicPartition, ...]:
    """Where everything goes that is said about one source partition."""
    keyed = (DECISIONS, ALERTS, DEAD_LETTERS)
    return (*(TopicPartition(topic, partition) for topic in keyed), TopicPartition(EXAMPLES, 0))


class Start(NamedTuple):
    """Where the checkpoint of a source partition stands: the next offset to apply, and its output positions."""

    next_offset: int
    output_positions: Mapping[str, int]


NO_CHECKPOINT = Start(0, {})
# For outputs and offsets to read them from: the spans there are now, and their records.
Tails = tuple[Mapping[TopicPartition, range], Iterator[ReadRecord]]
OpenTails = Callable[[Mapping[TopicPartition, int]], AbstractContextManager[Tails]]


@contextmanager
def open_tails(settings: StreamSettings, starts: Mapping[TopicPartition, int]) -> Iterator[Tails]:
    """Read outputs from where each is to start to the end it has now; blocks.

    Args:
        settings: how to reach Kafka, and for how long to try.
        starts: where each output is to start.

    Raises:
        RecoveryError: they could not be read to their ends in time.
    """
    consumer = plain_consumer(settings, "recovery")
    try:
        spans = ends_of(consumer, starts, settings.recovery_timeout_s)
        yield spans, read_to(consumer, spans, settings.recovery_timeout_s)
    except (KafkaException, TimeoutError) as error:
        message = f"cannot read back what was answered: {error}"
        raise RecoveryError(message) from error
    finally:
        consumer.close()


def read_answered(read_tails: OpenTails, starts: Mapping[int, Start]) -> dict[int, Answered]:
    """Read the tails for some source partitions; blocks.

    Args:
        read_tails: opens outputs from given offsets.
        starts: by source partition; an output without a position is read from the beginning.

    Raises:
        RecoveryError: the tails could not be read to their ends in time.
    """
    answered = {partition: Answered() for partition in starts}
    if not starts:
        return answered
    wanted: dict[TopicPartition, int] = {}
    for partition, checkpoint in starts.items():
        for output in outputs_of(partition):
            start = checkpoint.output_positions.get(output_name(output), 0)
            wanted[output] = min(start, wanted.get(output, start))
    with read_tails(wanted) as (spans, records):
        _collect(answered, starts, records)
    for partition, found in answered.items():
        found.positions = {output_name(output): spans[output].stop for output in outputs_of(partition)}
    return answered


def has_decisions(read_tails: OpenTails, partition: TopicPartition, offsets: range) -> bool:
    """Whether a worker has written decisions to these offsets; blocks. What a waiting caller was told is none.

    Raises:
        RecoveryError: they could not be read in time.
    """
    with read_tails({partition: offsets.start}) as (_, records):
        decisions = (_decode(record.value) for record in records if record.offset in offsets)
        return any(decision is not None and decision.reasons != [DEADLINE_PASSED] for decision in decisions)


def _collect(answered: dict[int, Answered], starts: Mapping[int, Start], records: Iterable[ReadRecord]) -> None:
    """Sort what was read by source partition."""
    decisions: dict[tuple[int, int], ReadRecord] = {}
    alerts: dict[tuple[int, int], ReadRecord] = {}
    for record in records:
        if record.topic == EXAMPLES:
            _collect_examples(answered, record)
        elif record.topic == DEAD_LETTERS:
            origin = origin_of(dict(record.headers))
            if origin is not None and record.partition in answered:
                answered[record.partition].dead_letters.add((origin[0].topic, origin[1]))
        else:
            decision = _decode(record.value)
            if decision is not None and decision.source.partition == record.partition in answered:
                # What a waiting caller was told instead of a decision answers nothing for us: a FREEZE still follows.
                if decision.reasons == [DEADLINE_PASSED]:
                    continue
                if decision.source.offset < starts[record.partition].next_offset:
                    continue
                place = (record.partition, decision.source.offset)
                if record.topic == DECISIONS:
                    known = answered[record.partition].decisions
                    if decision.source.offset in known:
                        continue  # what a worker said that had lost the partition: the first one stands
                    known[decision.source.offset] = _standing(decision)
                if record.topic == ALERTS or _ACTIONS[decision.action] != Action.ALLOW:
                    (alerts if record.topic == ALERTS else decisions).setdefault(place, record)
    for place in alerts.keys() - decisions.keys():
        found = answered[place[0]]
        decision = _decode(alerts[place].value)
        if decision is not None and place[1] not in found.decisions:
            found.decisions[place[1]] = _standing(decision)
            found.missing_copies.append(_copy(alerts[place], DECISIONS))
    for place in decisions.keys() - alerts.keys():
        answered[place[0]].missing_copies.append(_copy(decisions[place], ALERTS))


def _copy(record: ReadRecord, topic: str) -> Outgoing:
    """The same record for another topic, its headers included: its time is that of the decision."""
    return Outgoing(topic, record.partition, record.key, record.value, list(record.headers))


def _collect_examples(answered: dict[int, Answered], record: ReadRecord) -> None:
    """Note how far examples of a kind were published."""
    progress = progress_of(dict(record.headers))
    if progress is not None and progress.partition in answered:
        known = answered[progress.partition].example_progress
        known[progress.kind] = max(progress.up_to, known.get(progress.kind, 0))


def _decode(value: bytes | None) -> _Decision | None:
    """Decode a decision; what others wrote into our topic is passed over."""
    try:
        decision = _decoder.decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return decision if decision.action in _ACTIONS else None


def _standing(decision: _Decision) -> StandingDecision:
    """Turn the wire's record into codes."""
    flags = sum(_FLAG_BITS.get(flag, 0) for flag in decision.flags)
    return StandingDecision(
        _ACTIONS[decision.action], decision.score, decision.anomaly, flags, decision.expected_loss_minor,
        tuple(decision.reasons), tuple(decision.rules),
    )  # fmt: skip
