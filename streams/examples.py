"""Records of `cardwatch.examples.v1`: arrays in the value, and in the headers what they cover.

Three kinds of examples leave each source partition, each in an order of its own. A header says how far a kind has come,
so that a worker which replays its partition publishes none twice:

    unlabelled   a sample of payments as scored             up to this transaction offset
    labelled     labels joined with features as scored      up to this label offset
    matured      payments nobody complained of in time      up to this event time
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from detector.examples import Examples
from streams.events import Outgoing, cloud_event
from streams.records import Headers
from streams.topics import EXAMPLES

UNLABELLED, LABELLED, MATURED = "unlabelled", "labelled", "matured"
_KINDS = (UNLABELLED, LABELLED, MATURED)
_TYPE = "cardwatch.examples.v1"
_SOURCE = "/cardwatch/score"


class Progress(NamedTuple):
    """How far examples of a kind have been published for a source partition.

    Attributes:
        up_to: the offset, or the event time in milliseconds, behind what is covered.
    """

    kind: str
    partition: int
    up_to: int


def examples_record(examples: Examples, progress: Progress, now_ms: int) -> Outgoing:
    """Make the record for some examples; the topic has one partition that counts, 0."""
    event_id = f"{progress.kind}/{progress.partition}/{progress.up_to}"
    headers = [
        ("kind", progress.kind.encode()),
        ("source_partition", str(progress.partition).encode()),
        ("up_to", str(progress.up_to).encode()),
        *cloud_event(event_id, _TYPE, _SOURCE, now_ms),
    ]
    return Outgoing(EXAMPLES, 0, event_id.encode(), examples.to_bytes(), headers)


def is_matured(headers: Headers) -> bool:
    """Whether a record's labels were given by nobody: its payments became genuine because nobody complained."""
    return ("kind", MATURED.encode()) in headers


def progress_of(headers: Mapping[str, bytes | None]) -> Progress | None:
    """What a record of examples covers; None where it is not one of ours."""
    kind, partition, up_to = (headers.get(name) or b"" for name in ("kind", "source_partition", "up_to"))
    if kind.decode(errors="replace") not in _KINDS or not (partition.isdigit() and up_to.isdigit()):
        return None
    return Progress(kind.decode(), int(partition), int(up_to))
