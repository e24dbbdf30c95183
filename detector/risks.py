"""Classes of risk: the grid on which a card's history keeps how risky the pattern of a payment was."""

from __future__ import annotations

import math

from detector.catalogue import RISKS, RISKY
from detector.jit import kernel

RISK_FIRST, RISK_STEP = RISKS[0], RISKS[1] - RISKS[0]
_RISK_CLASSES = len(RISKS)
# The first class of patterns that are risky.
RISKY_CLASS = RISKS.index(RISKY) + 1


@kernel
def risk_class(risk: float) -> int:
    """The bin of a risk on the grid of RISKS."""
    return min(max(math.floor((risk - RISK_FIRST) / RISK_STEP) + 1, 0), _RISK_CLASSES)
