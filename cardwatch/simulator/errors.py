"""Every error the simulator raises, as one tree.

SimulatorError
├── SettingError         a setting of the world or of a run that cannot be used
├── UnknownAttackError   an attack by a name that is not in the list
└── DeliveryError        records that Kafka did not acknowledge
"""

from __future__ import annotations


class SimulatorError(Exception):
    """Base of everything the simulator raises on purpose."""


class SettingError(SimulatorError):
    """A setting cannot be used; the message names it and says what would be right."""


class UnknownAttackError(SimulatorError):
    """There is no attack of this name; the message lists those there are."""


class DeliveryError(SimulatorError):
    """Kafka did not acknowledge every record; the message says how many and why."""
