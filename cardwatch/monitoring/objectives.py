"""What is promised and when somebody is woken: `configs/objectives.toml`, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cardwatch.errors import SettingsError
from cardwatch.settings import read_toml, shipped_toml
from telemetry.catalogue import CATALOGUE

SHIPPED = "objectives.toml"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ShareObjective(_Strict):
    """A share of events that must be good."""

    target: float = Field(gt=0.5, lt=1.0)

    @property
    def budget(self) -> float:
        """The share that may be bad."""
        return 1.0 - self.target


class TimeObjective(ShareObjective):
    """A share of events that must be done in time."""

    within_s: float = Field(gt=0)


class Objectives(_Strict):
    """The promises, by the name of their measure."""

    decided: ShareObjective
    decision_latency: TimeObjective
    freeze_latency: TimeObjective
    queue_targets: ShareObjective
    urgent_touch: TimeObjective
    freeze_undo: TimeObjective


class AlertLimits(_Strict):
    """Limits of the alerts that are no objectives; the file says what each means."""

    lag_records: int = Field(gt=0)
    freeze_storm_ratio: float = Field(gt=0, lt=1)
    freeze_storm_least: int = Field(ge=0)
    score_shift_index: float = Field(gt=0)
    labels_stalled_alerts: int = Field(ge=1)
    model_stale_s: float = Field(gt=0)
    dead_letters_ratio: float = Field(gt=0, lt=1)
    dead_letters_least: int = Field(ge=0)
    checkpoint_stale_s: float = Field(gt=0)
    outbox_stuck_s: float = Field(gt=0)
    history_lag_s: float = Field(gt=0)
    webhooks_waiting_s: float = Field(gt=0)
    clock_skew_s: float = Field(gt=0)
    certificate_days: float = Field(gt=0)


class Promises(_Strict):
    """The whole file."""

    runbooks: str = Field(min_length=1)
    objectives: Objectives
    alerts: AlertLimits


def read_promises(path: Path | None = None) -> Promises:
    """Read the file of promises, the shipped one by default.

    Raises:
        SettingsError: it cannot be read, or something in it is wrong; one line a setting.
    """
    return promises_of(shipped_toml(SHIPPED) if path is None else read_toml(path))


def promises_of(tree: Mapping[str, Any]) -> Promises:
    """Check a tree of promises.

    Raises:
        SettingsError: one line a setting that is wrong.
    """
    try:
        promises = Promises.model_validate(tree)
    except ValidationError as error:
        lines = [f"{'.'.join(str(part) for part in it['loc'])}: {it['msg']}" for it in error.errors()]
        raise SettingsError("\n".join(lines)) from None
    for name, objective in promises.objectives:
        if not isinstance(objective, TimeObjective):
            continue
        buckets = CATALOGUE[f"cardwatch_{name}_seconds"].buckets
        if objective.within_s not in buckets:
            message = f"objectives.{name}.within_s: no bucket of the histogram; right is one of {list(buckets)}"
            raise SettingsError(message)
    return promises
