"""The chain of objects that one state is put together from: bases, and the changes behind them."""

from __future__ import annotations

from dataclasses import dataclass, field

from streams.checkpoint_format import Chain, StoredBase, StoredObject

# A new base is begun when the changes since the last one have this share of its size: a restart reads at most one and a
# half times the state, and what is written is at most thrice what has changed.
_SHARE_OF_BASE = 0.5
# Below this many bytes changes are cheap to read; more of them than this make the manifest long.
_CHEAP_BYTES = 4 << 20
_MOST_CHANGES = 64


@dataclass(frozen=True, slots=True)
class ReadyBase:
    """A base that was written whole, and how many changes there were when it was begun."""

    object: StoredObject
    skips: int


@dataclass(slots=True)
class ChainState:
    """The chain of a state as its owner writes it.

    Attributes:
        home: folder under which its objects are: of the partition, or of this worker's shared entities.
        layout: of the memory that it is about.
        bases: the newest first.
        changes: since the oldest base was begun.
        dropped: how many changes were cut off in front so far: `begin_base` counts from there.
    """

    home: str
    layout: str
    bases: list[StoredBase] = field(default_factory=list)
    changes: list[StoredObject] = field(default_factory=list)
    dropped: int = 0

    @classmethod
    def of(cls, home: str, chain: Chain) -> ChainState:
        """Go on with what a manifest names."""
        return cls(home, chain.layout, list(chain.bases), list(chain.changes))

    def is_base_due(self) -> bool:
        """Whether a new base would pay."""
        if not self.bases:
            return True
        newest = self.bases[0]
        since = self.changes[newest.skips :]
        changed_bytes = sum(change.size_bytes for change in since)
        return len(since) >= _MOST_CHANGES or changed_bytes > max(
            _CHEAP_BYTES, _SHARE_OF_BASE * newest.object.size_bytes
        )

    def begin_base(self) -> int:
        """What a base that is begun now contains already; for `ReadyBase.skips`."""
        return self.dropped + len(self.changes)

    def add(self, change: StoredObject, base: ReadyBase | None, kept: int) -> None:
        """Add a change; `base`, if any, was read to its end before the change was taken. Keeps so many bases."""
        self.changes.append(change)
        if base is None:
            return
        self.bases.insert(0, StoredBase(base.object, base.skips - self.dropped))
        del self.bases[kept:]
        cut = min(each.skips for each in self.bases)
        self.changes = self.changes[cut:]
        self.dropped += cut
        self.bases = [StoredBase(each.object, each.skips - cut) for each in self.bases]

    def chain(self) -> Chain:
        """What a manifest says."""
        return Chain(self.layout, list(self.bases), list(self.changes))

    def oldest_folder(self) -> str:
        """The first of the folders that are still needed, by name; "" where none is."""
        objects = [*(base.object for base in self.bases), *self.changes]
        return min((each.path.partition("/")[0] for each in objects), default="")
