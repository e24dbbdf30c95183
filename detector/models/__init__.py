"""Online models: they learn behind river's interface and score in Numba.

A `Trainer` learns from `Examples` and publishes immutable `ModelVersion`s, which scorers use without waiting for it.
"""

from __future__ import annotations

from detector.models.config import ModelsConfig
from detector.models.trainer import Trainer, nothing_learned
from detector.models.version import ModelVersion

__all__ = ["ModelVersion", "ModelsConfig", "Trainer", "nothing_learned"]
