"""What `configs/models.toml` says: how the models are built and how they learn."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from detector.catalogue import HOUR_MS
from detector.models.contest import ContestRules
from detector.models.fields import EVERY_FEATURE, parse_field
from detector.models.logistic import Caps
from detector.section import Section

_MAXIMUM_FIELDS = 256
MAXIMUM_CHALLENGERS = 8
MAXIMUM_NAME = 64
# The model of [logistic], which acts until a challenger wins.
CHAMPION = "champion"


@dataclass(frozen=True, slots=True)
class LogisticConfig:
    """Settings of the binned logistic regression.

    Attributes:
        learning_rate: AdaGrad's.
        epsilon: AdaGrad's: squared gradients that every slot has before it learns.
        intercept_learning_rate: the constant rate of the intercept.
        initial_intercept: log-odds before anything has been learned.
        clip_gradient: largest absolute gradient of the loss, after the example's weight.
        smallest_gradient: examples with a smaller one are passed over.
        slope_rate: the constant rate of the slopes over bins, 0 for none.
        fields: features and crosses of features, as `fields.parse_field` reads them.
    """

    learning_rate: float
    epsilon: float
    intercept_learning_rate: float
    initial_intercept: float
    clip_gradient: float
    smallest_gradient: float
    slope_rate: float
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CalibrationConfig:
    """Settings of the calibration.

    Attributes:
        window: labelled examples that it looks back on.
        least_frauds: in a band of scores.
    """

    window: int
    least_frauds: int


@dataclass(frozen=True, slots=True)
class HalfSpaceConfig:
    """Settings of the Half-Space Trees.

    Attributes:
        trees: how many.
        height: splits from the root to a leaf.
        window: examples after which the mass profile is renewed.
        seed: of the random splits.
        features: names of the features that trees look at; all if "*" is among them.
    """

    trees: int
    height: int
    window: int
    seed: int
    features: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RiverStep:
    """A step of a model of river.

    Attributes:
        name: module and class, as "linear_model.LogisticRegression".
        parameters: plain values.
    """

    name: str
    parameters: Mapping[str, bool | int | float | str]


@dataclass(frozen=True, slots=True)
class ChallengerConfig:
    """A model that is compared with the champion.

    Attributes:
        name: of the model.
        logistic: settings of a compiled one, those of the champion where nothing else is said; None for one of river's.
        river: steps of one of river's; empty for a compiled one.
    """

    name: str
    logistic: LogisticConfig | None
    river: tuple[RiverStep, ...]


@dataclass(frozen=True, slots=True)
class ModelsConfig:
    """All settings of the models.

    Attributes:
        cold_start_frauds: frauds to be learned before the models may freeze a card.
        logistic: of the model with labels.
        calibration: of its scores.
        half_space: of the model without.
        caps: how far the labels of one source may move a model.
        largest_review_weight: for how many payments one that was reviewed by chance stands at most.
        contest: when a challenger becomes champion.
        challengers: models that are compared with the champion.
    """

    cold_start_frauds: int
    logistic: LogisticConfig
    calibration: CalibrationConfig
    half_space: HalfSpaceConfig
    caps: Caps
    largest_review_weight: float
    contest: ContestRules
    challengers: tuple[ChallengerConfig, ...]

    def digest(self) -> str:
        """Hex digest of all settings: equal ones build equal models that learn alike."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> ModelsConfig:
        """Parse the content of `configs/models.toml`.

        Raises:
            ConfigurationError: a setting is missing, unknown or out of bounds; the message names it.
        """
        root = Section(mapping, "")
        root.refuse_unknown(
            ("cold_start_frauds", "logistic", "calibration", "half_space", "contest", "caps", "reviews", "challengers")
        )
        return cls(
            cold_start_frauds=root.integer("cold_start_frauds", 0, 1_000_000),
            logistic=_logistic(root.section("logistic")),
            calibration=_calibration(root.section("calibration")),
            half_space=_half_space(root.section("half_space")),
            caps=_caps(root.section("caps")),
            largest_review_weight=_largest_review_weight(root.section("reviews")),
            contest=_contest(root.section("contest")),
            challengers=_challengers(root, mapping["logistic"]),
        )


def _logistic(section: Section) -> LogisticConfig:
    """Parse `[logistic]`."""
    section.refuse_unknown(LogisticConfig.__slots__)
    fields = section.sequence("fields")
    if not all(isinstance(text, str) for text in fields) or not 1 <= len(fields) <= _MAXIMUM_FIELDS:
        section.refuse("fields", f'a list of 1 to {_MAXIMUM_FIELDS} texts, as ["*", "amount x hour>1"]')
    for text in fields:
        if text != EVERY_FEATURE:
            parse_field(text)
    return LogisticConfig(
        learning_rate=section.number("learning_rate", 1e-6, 10.0),
        epsilon=section.number("epsilon", 1e-12, 1e6),
        intercept_learning_rate=section.number("intercept_learning_rate", 0.0, 1.0),
        initial_intercept=section.number("initial_intercept", -20.0, 20.0),
        clip_gradient=section.number("clip_gradient", 1e-6, 1e12),
        smallest_gradient=section.number("smallest_gradient", 0.0, 1.0),
        slope_rate=section.number("slope_rate", 0.0, 1.0),
        fields=tuple(str(text) for text in fields),
    )


def _calibration(section: Section) -> CalibrationConfig:
    """Parse `[calibration]`."""
    section.refuse_unknown(CalibrationConfig.__slots__)
    return CalibrationConfig(
        window=section.integer("window", 1_000, 1_000_000_000),
        least_frauds=section.integer("least_frauds", 1, 1_000_000),
    )


def _half_space(section: Section) -> HalfSpaceConfig:
    """Parse `[half_space]`."""
    section.refuse_unknown(HalfSpaceConfig.__slots__)
    features = section.sequence("features")
    if not all(isinstance(name, str) for name in features) or not features:
        section.refuse("features", 'a list of one or more names of features, or ["*"] for all')
    return HalfSpaceConfig(
        trees=section.integer("trees", 1, 200),
        height=section.integer("height", 1, 15),
        window=section.integer("window", 2, 10_000_000),
        seed=section.integer("seed", 0, 2**31 - 1),
        features=tuple(features),
    )


def _caps(section: Section) -> Caps:
    """Parse `[caps]`."""
    section.refuse_unknown(("window_hours", "labeller", "merchant", "card"))
    caps = [section.number(name, 1e-3, 1e12) for name in ("labeller", "merchant", "card")]
    return Caps(section.integer("window_hours", 1, 24 * 366) * HOUR_MS, *caps)


def _largest_review_weight(section: Section) -> float:
    """Parse `[reviews]`."""
    section.refuse_unknown(("largest_weight",))
    return section.number("largest_weight", 1.0, 1e6)


def _contest(section: Section) -> ContestRules:
    """Parse `[contest]`."""
    section.refuse_unknown(ContestRules.__slots__)
    return ContestRules(
        margin=section.number("margin", 0.0, 10.0),
        least_frauds=section.integer("least_frauds", 1, 10_000_000),
        error_rate=section.number("error_rate", 1e-9, 0.5),
        block_frauds=section.integer("block_frauds", 1, 10_000),
    )


def _challengers(root: Section, logistic: Mapping[str, Any]) -> tuple[ChallengerConfig, ...]:
    """Parse the tables of `[[challengers]]`: a name, and settings that differ from `[logistic]` or steps of river."""
    found: list[ChallengerConfig] = []
    for section in root.sections("challengers"):
        section.refuse_unknown(("name", "logistic", "river"))
        name = section.text("name")
        if len(name) > MAXIMUM_NAME or not name.isprintable() or name != name.strip():
            section.refuse("name", f"at most {MAXIMUM_NAME} plain characters")
        if name == CHAMPION or any(other.name == name for other in found):
            section.refuse("name", f'different from those of the others and from "{CHAMPION}"')
        if ("logistic" in section) == ("river" in section):
            section.refuse("name", "followed by either logistic or river")
        if "logistic" in section:
            changed = {**logistic, **dict(section.section("logistic").items())}
            found.append(ChallengerConfig(name, _logistic(Section(changed, section.name_of("logistic"))), ()))
        else:
            steps = tuple(_river_step(step) for step in section.sections("river"))
            if not steps:
                section.refuse("river", 'a list of one or more tables, as [{ name = "naive_bayes.GaussianNB" }]')
            found.append(ChallengerConfig(name, None, steps))
    if len(found) > MAXIMUM_CHALLENGERS:
        root.refuse("challengers", f"at most {MAXIMUM_CHALLENGERS}")
    return tuple(found)


def _river_step(section: Section) -> RiverStep:
    """Parse a step of river: its name, and parameters beside it."""
    parameters = {key: value for key, value in section.items() if key != "name"}
    for key, value in parameters.items():
        if not isinstance(value, bool | int | float | str):
            section.refuse(key, "a number, a text, true or false")
    return RiverStep(section.text("name"), parameters)
