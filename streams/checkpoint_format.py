"""What a checkpoint says of itself: its objects, what it belongs to, how far it goes, and what its folder is called."""

from __future__ import annotations

import msgspec

FORMAT = 2
MANIFEST = "manifest.json"
SHARED = "shared"


class Position(msgspec.Struct, frozen=True, order=True):
    """How far a source partition has been applied: the next offsets of its transactions and labels."""

    next_offset: int
    label_next_offset: int


class StoredObject(msgspec.Struct, frozen=True):
    """One immutable object.

    Attributes:
        path: below the folder of the partition, or of the shared entities.
        digest: CRC-32 of the whole object; it finds damage, nobody's malice.
    """

    path: str
    size_bytes: int
    digest: str


class StoredBase(msgspec.Struct, frozen=True):
    """A copy of everything, to which changes are added.

    Attributes:
        skips: how many of the manifest's changes are contained already, from the first.
    """

    object: StoredObject
    skips: int


class Origin(msgspec.Struct, frozen=True):
    """What a checkpoint belongs to: elsewhere its offsets, generations or arrays mean something else.

    Attributes:
        cluster_id: Kafka's id of the cluster.
        topic_ids: Kafka's ids of the source topics, by name, where the broker tells them: a topic made anew under the
            same name counts its offsets anew.
        config_digest: of the configuration that shapes state.
        group: the consumer group whose generations order checkpoints.
    """

    cluster_id: str
    topic_ids: dict[str, str]
    config_digest: str
    group: str


class Chain(msgspec.Struct, frozen=True):
    """How a state is put together: one of the bases, then the changes behind it, in order.

    Attributes:
        layout: what lies where; the core that wrote it knows.
        bases: the newest first.
        changes: of all checkpoints since the oldest of the bases was begun.
    """

    layout: str
    bases: list[StoredBase]
    changes: list[StoredObject]


class PartitionManifest(msgspec.Struct, frozen=True):
    """What a partition's checkpoint says of itself.

    Attributes:
        epoch: counts how often the consumer group was made anew, its generations beginning again.
        output_positions: per output ("topic/partition"), an offset behind which everything answered later stands.
        created_ms: UTC epoch milliseconds.
    """

    format: int
    origin: Origin
    partition: int
    epoch: int
    generation: int
    position: Position
    watermark_ms: int
    output_positions: dict[str, int]
    created_ms: int
    chain: Chain


class SharedManifest(msgspec.Struct, frozen=True):
    """What the checkpoint of a worker's shared entities says of itself: which positions it contains."""

    format: int
    origin: Origin
    epoch: int
    generation: int
    positions: dict[str, Position]
    created_ms: int
    chain: Chain


class FormatOnly(msgspec.Struct, frozen=True):
    """What every manifest of every format says."""

    format: int


def position_name(position: Position) -> str:
    """The part of a folder's name that says what it stands for."""
    return f"{position.next_offset:019d}-{position.label_next_offset:019d}"


def generation_name(epoch: int, generation: int) -> str:
    """The part of a folder's name that says who may have written it; names sort as these do."""
    return f"{epoch:04d}-{generation:010d}"


def folder_name(epoch: int, generation: int, position: Position) -> str:
    """The folder of a partition's checkpoint; names sort as checkpoints do."""
    return f"{generation_name(epoch, generation)}-{position_name(position)}"


def base_name(folder: str, unique: str) -> str:
    """The folder of a base that was begun when the next checkpoint would have been named `folder`."""
    return f"{folder}.base-{unique}"


def is_base(folder: str) -> bool:
    """Whether a folder is that of a base."""
    return ".base-" in folder


def generation_of(folder: str) -> tuple[int, int]:
    """Epoch and generation of a folder, (-1, -1) for a name that is none of ours."""
    epoch, _, rest = folder.partition("-")
    generation = rest.partition("-")[0]
    return (int(epoch), int(generation)) if epoch.isdecimal() and generation.isdecimal() else (-1, -1)
