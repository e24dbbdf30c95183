"""Every error the detector raises, as one tree.

DetectorError
├── BatchError            a batch that breaks the contract of `assess_batch`
│   └── StaleOffsetError  offsets at or below what the state already holds
├── ConfigurationError    a policy, model, rate or catalogue setting that cannot be used
├── SegmentError          payments on disk that cannot be read or written
├── SharedRowsError       rows of shared entities that cannot be read
├── StateError            arrays that cannot be loaded as state
│   └── CapacityError     a table has no room left and nothing may be evicted
└── ModelError            a model version that cannot be read or does not fit the catalogue
"""

from __future__ import annotations


class DetectorError(Exception):
    """Base of everything the detector raises on purpose."""


class BatchError(DetectorError):
    """The batch is malformed: unequal columns, unsorted offsets or values out of range."""


class StaleOffsetError(BatchError):
    """The batch holds offsets that the partition's state has already applied."""


class ConfigurationError(DetectorError):
    """A setting cannot be used; the message names it and says what would be right."""


class SegmentError(DetectorError):
    """A segment of kept payments cannot be read, or cannot be written."""


class SharedRowsError(DetectorError):
    """Bytes that are no rows of shared entities, or of another version."""


class StateError(DetectorError):
    """Stored arrays do not form a valid state of this format and configuration."""


class CapacityError(StateError):
    """A table is full and nothing in it may be evicted; the message names the setting to raise."""


class ModelError(DetectorError):
    """A model version is unreadable, or was made for another feature catalogue."""
