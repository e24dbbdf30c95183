"""Makes the detector's core for tests of roles: shipped policy and models, nothing learned."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Any

from detector.models.config import ModelsConfig
from detector.models.trainer import Trainer
from detector.policy import Policy
from detector.state import EngineState
from streams.detector_core import DetectorCore


def section(name: str) -> dict[str, Any]:
    """A shipped configuration file."""
    return tomllib.loads(resources.files("configs").joinpath(name).read_text())


def new_trainer() -> Trainer:
    """The shipped models, before they have learned anything."""
    return Trainer(ModelsConfig.from_mapping(section("models.toml")))


def core_of(state: EngineState) -> DetectorCore:
    """The core on a state."""
    return DetectorCore(state, new_trainer().version("m-000000", 0), Policy.from_mapping(section("policy.toml")))
