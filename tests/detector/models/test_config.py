"""`configs/models.toml`: what is shipped fits the catalogue, and a wrong setting is named with what would be right."""

from __future__ import annotations

import importlib.resources
import tomllib
from typing import Any

import pytest

from detector.errors import ConfigurationError
from detector.models import ModelsConfig, Trainer


def _shipped() -> dict[str, Any]:
    return tomllib.loads((importlib.resources.files("configs") / "models.toml").read_text())


def test_shipped_configuration_fits_the_catalogue() -> None:
    """The default models can be built, over the catalogue that is shipped with them."""
    version = Trainer(ModelsConfig.from_mapping(_shipped())).version("m-000000", 0)
    assert version.is_cold
    assert len(version.to_bytes()) < 900_000, "a version must fit one Kafka record"


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("cold_start_frauds", -1, "cold_start_frauds: must be an integer from 0"),
        ("cold_start_frauds", None, "cold_start_frauds: must be an integer .* not given"),
        ("logistic", 3, "logistic: must be a table, not int"),
        ("logistic.learning_rate", 0.0, "logistic.learning_rate: must be a number"),
        ("logistic.learning_rate", True, "logistic.learning_rate: must be a number .* it is True"),
        ("logistic.learning_rate", float("nan"), "logistic.learning_rate: must be a number"),
        ("logistic.fields", "amount", "logistic.fields: must be a list"),
        ("logistic.fields", [["amount"]], "logistic.fields: must be a list of 1 to 256 texts"),
        ("logistic.fields", [], "logistic.fields: must be a list of 1 to 256 texts"),
        ("logistic.fields", ["amount>9"], 'field "amount>9": must be one to 3'),
        ("logistic.smallest_gradient", 2, "logistic.smallest_gradient: must be a number from 0 to 1"),
        ("calibration.window", 10, "calibration.window: must be an integer from 1000"),
        ("calibration.least", 10, "calibration.least: unknown"),
        ("logistic.l2", 0.1, "logistic.l2: unknown; known here are clip_gradient, epsilon"),
        ("half_space.height", 16, "half_space.height: must be an integer from 1 to 15; it is 16"),
        ("half_space.seed", "x", "half_space.seed: must be an integer"),
        ("half_space.features", "amount", "half_space.features: must be a list"),
        ("half_space.features", [], "half_space.features: must be a list of one or more names"),
        ("reviews.largest_weight", 0.5, "reviews.largest_weight: must be a number from 1 to"),
        ("reviews.share", 0.5, "reviews.share: unknown"),
        ("forest", {}, "forest: unknown"),
    ],
)
def test_wrong_setting_is_named(path: str, value: Any, named: str) -> None:
    """The message has the setting's path, what would be right and what was found."""
    mapping = _shipped()
    table = mapping
    *parents, key = path.split(".")
    for parent in parents:
        table = table[parent]
    if value is None:
        del table[key]
    else:
        table[key] = value
    with pytest.raises(ConfigurationError, match=named):
        ModelsConfig.from_mapping(mapping)
