"""A seeded world of cardholders, merchants and attackers that makes transactions to the contract.

Pure: no clock, no files, no network (`output`, `kafka` and `cli` beside it are the doors). The same seed, settings and
start time give the same bytes.
"""

from cardwatch.simulator.attacks import ATTACK_NAMES
from cardwatch.simulator.errors import SettingError, SimulatorError, UnknownAttackError
from cardwatch.simulator.simulator import Simulator, Stream
from cardwatch.simulator.world import WorldSettings

__all__ = [
    "ATTACK_NAMES",
    "SettingError",
    "Simulator",
    "SimulatorError",
    "Stream",
    "UnknownAttackError",
    "WorldSettings",
]
