"""JSON of /v1/history: a span of time in numbers."""

from __future__ import annotations

from pydantic import Field

from api.schemas import View


class ReasonOut(View):
    """How a reason code did in cases that were closed."""

    reason: str
    cases: int
    frauds: int
    precision: float = Field(description="Share of its cases that were fraud")
    median_minutes: float = Field(description="From opening to closing")


class PersonOut(View):
    """What one person closed."""

    person: str
    closed: int
    median_minutes: float = Field(description="From opening to closing")


class StatisticsOut(View):
    """A span of time in numbers."""

    opened: int
    closed: int
    dispositions: dict[str, int]
    kinds: dict[str, int]
    median_first_action_minutes: float | None = Field(description="From opening to the first thing a person did")
    median_minutes: float | None = Field(description="From opening to closing")
    targets_missed: int
    undone_freezes: int = Field(description="Wrongful freezes that were undone")
    undone_in_time: int = Field(description="Of these, within 30 minutes of opening")
    reasons: list[ReasonOut] = Field(description="The most frequent first")
    people: list[PersonOut] = Field(description="Who closed the most first")
