"""What `configs/models.toml` says: how the models are built and how they learn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from detector.section import Section

_MAXIMUM_CROSSES = 64


@dataclass(frozen=True, slots=True)
class LogisticConfig:
    """Settings of the binned logistic regression.

    Attributes:
        learning_rate: AdaGrad's.
        intercept_learning_rate: the constant rate of the intercept.
        initial_intercept: log-odds before anything has been learned.
        clip_gradient: largest absolute gradient of the loss, after the example's weight.
        crosses: pairs of feature names that also form a field together.
    """

    learning_rate: float
    intercept_learning_rate: float
    initial_intercept: float
    clip_gradient: float
    crosses: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class HalfSpaceConfig:
    """Settings of the Half-Space Trees.

    Attributes:
        trees: how many.
        height: splits from the root to a leaf.
        window: examples after which the mass profile is renewed.
        seed: of the random splits.
    """

    trees: int
    height: int
    window: int
    seed: int


@dataclass(frozen=True, slots=True)
class ModelsConfig:
    """All settings of the models.

    Attributes:
        cold_start_frauds: frauds to be learned before the models may freeze a card.
        logistic: of the model with labels.
        half_space: of the model without.
    """

    cold_start_frauds: int
    logistic: LogisticConfig
    half_space: HalfSpaceConfig

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> ModelsConfig:
        """Parse the content of `configs/models.toml`.

        Raises:
            ConfigurationError: a setting is missing, unknown or out of bounds; the message names it.
        """
        root = Section(mapping, "")
        root.refuse_unknown(("cold_start_frauds", "logistic", "half_space"))
        return cls(
            cold_start_frauds=root.integer("cold_start_frauds", 0, 1_000_000),
            logistic=_logistic(root.section("logistic")),
            half_space=_half_space(root.section("half_space")),
        )


def _logistic(section: Section) -> LogisticConfig:
    """Parse `[logistic]`."""
    section.refuse_unknown(LogisticConfig.__slots__)
    pairs = section.sequence("crosses")
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(isinstance(name, str) for name in pair):
            section.refuse("crosses", 'a list of pairs of feature names, as [["amount", "hour"]]')
    if len(pairs) > _MAXIMUM_CROSSES:
        section.refuse("crosses", f"a list of at most {_MAXIMUM_CROSSES} pairs")
    return LogisticConfig(
        learning_rate=section.number("learning_rate", 1e-6, 10.0),
        intercept_learning_rate=section.number("intercept_learning_rate", 0.0, 1.0),
        initial_intercept=section.number("initial_intercept", -20.0, 20.0),
        clip_gradient=section.number("clip_gradient", 1e-6, 1e12),
        crosses=tuple((str(first), str(second)) for first, second in pairs),
    )


def _half_space(section: Section) -> HalfSpaceConfig:
    """Parse `[half_space]`."""
    section.refuse_unknown(HalfSpaceConfig.__slots__)
    return HalfSpaceConfig(
        trees=section.integer("trees", 1, 200),
        height=section.integer("height", 1, 15),
        window=section.integer("window", 2, 10_000_000),
        seed=section.integer("seed", 0, 2**31 - 1),
    )
