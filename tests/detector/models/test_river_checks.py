"""river's own checks of estimators, run on ours: they clone, pickle, forget and meet new features as river expects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from river import base, checks, datasets

from detector.models.bins import Binner
from detector.models.fields import Fields
from detector.models.half_space import CompiledHalfSpaceTrees
from detector.models.logistic import BinnedLogisticRegression

_TENTHS = tuple(np.linspace(-1.0, 1.0, 21).tolist())


def _anomalies() -> list[tuple[dict[str, float], bool]]:
    """Stands in for river's credit card data, which it would download: a cloud with some points far out."""
    rng = np.random.default_rng(42)
    unusual = rng.random(1000) < 0.02
    points = np.where(unusual[:, None], rng.uniform(-1.0, 1.0, (1000, 5)), rng.normal(0.0, 0.1, (1000, 5)))
    names = [f"V{column}" for column in range(5)]
    return [
        (dict(zip(names, map(float, row), strict=True)), bool(flag)) for row, flag in zip(points, unusual, strict=True)
    ]


def _models() -> Iterator[base.Estimator]:
    sample, _ = next(iter(datasets.Phishing()))
    yield BinnedLogisticRegression(Fields(Binner([(str(name), _TENTHS) for name in sorted(sample)])))
    yield CompiledHalfSpaceTrees(Binner([(f"V{column}", _TENTHS) for column in range(5)]), window_size=100)


def _checks(model: base.Estimator, patch: pytest.MonkeyPatch) -> list[Callable[..., None]]:
    if isinstance(model, base.AnomalyDetector):
        data: Any = _anomalies()
        patch.setattr(checks, "_yield_datasets", lambda *_, **__: iter([data]))
    return list(checks.yield_checks(model))


@pytest.mark.compiled
@pytest.mark.parametrize("model", list(_models()), ids=lambda model: type(model).__name__)
def test_passes_rivers_checks(model: base.Estimator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every check that river has for such an estimator passes; none is skipped."""
    names = []
    for check in _checks(model, monkeypatch):
        check(model.clone())
        names.append(check.__name__)
    assert len(names) > 25
    assert model._unit_test_skips() == set()
