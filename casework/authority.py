"""Who may do what: the matrix of roles and acts, read from `configs/roles.toml` and asked in this one place.

A cell says yes, or yes within bounds (an amount at stake, a probability of fraud), or yes once a second person agrees
(four eyes). What is not in the file is not allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

import msgspec

from casework.errors import ConfigurationError, NotAuthorisedError


class Role(StrEnum):
    """What somebody is to the desk.

    The first three are people in rising tiers, then machines and operators; a cardholder acts on their own page alone.
    """

    AGENT = "agent"
    SENIOR_AGENT = "senior_agent"
    SUPERVISOR = "supervisor"
    PAYMENT_SYSTEM = "payment_system"
    SRE = "sre"
    CARDHOLDER = "cardholder"


TIERS: Mapping[Role, int] = {Role.AGENT: 1, Role.SENIOR_AGENT: 2, Role.SUPERVISOR: 3}


class Act(StrEnum):
    """One thing that may be allowed."""

    CONSOLE = "console"
    METRICS_READ = "metrics_read"
    CARD_READ = "card_read"
    CARD_FREEZE = "card_freeze"
    CARD_UNFREEZE = "card_unfreeze"
    CARD_BLOCK = "card_block"
    CARD_REISSUE = "card_reissue"
    LIMIT_LOWER = "limit_lower"
    LIMIT_CHANGE = "limit_change"
    CARD_WATCH = "card_watch"
    MERCHANT_ALLOW = "merchant_allow"
    TRAVEL_NOTE = "travel_note"
    CASE_READ = "case_read"
    CASE_OPEN = "case_open"
    CASE_TAKE = "case_take"
    CASE_WORK = "case_work"
    CASE_SNOOZE = "case_snooze"
    CASE_ESCALATE = "case_escalate"
    CASE_VERIFY = "case_verify"
    CASE_OVERRIDE = "case_override"
    CASE_REOPEN = "case_reopen"
    CASE_REASSIGN = "case_reassign"
    SEVERITY_LOWER = "severity_lower"
    DISPUTE_ACCEPT = "dispute_accept"
    APPROVE = "approve"
    BREAKER_READ = "breaker_read"
    BREAKER_RELEASE = "breaker_release"
    PAYMENT_DECIDE = "payment_decide"
    LISTS_READ = "lists_read"
    LISTS_EDIT = "lists_edit"
    CONTACT_EDIT = "contact_edit"
    WEBHOOK_READ = "webhook_read"
    WEBHOOK_OPERATE = "webhook_operate"


@dataclass(frozen=True, slots=True)
class Person:
    """Who does something: the name that stands in events, and what they are to the desk."""

    name: str
    role: Role

    @property
    def tier(self) -> int:
        """1 to 3; 0 for machines and operators."""
        return TIERS.get(self.role, 0)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What an act is about, as far as cells may bound it.

    Attributes:
        amount_minor, currency: money at stake; None where there is none, or where it cannot be told in one currency.
        score: highest probability of fraud among the payments concerned.
    """

    amount_minor: int | None = None
    currency: str | None = None
    score: float = 0.0


class Beyond(StrEnum):
    """What a cell says beyond its bounds."""

    NO = "no"
    FOUR_EYES = "four_eyes"


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the matrix.

    Attributes:
        up_to_minor: largest amount, by currency; empty: any. A currency that is missing here is beyond the bound.
        up_to_score: largest probability of fraud.
        beyond: what holds beyond the bounds; FOUR_EYES with no bounds at all means always.
        always_four_eyes: whether a second person must agree whatever the circumstances.
    """

    up_to_minor: Mapping[str, int] = field(default_factory=dict)
    up_to_score: float = 1.0
    beyond: Beyond = Beyond.NO
    always_four_eyes: bool = False

    def within(self, circumstances: Circumstances) -> bool:
        """Whether the circumstances are within the cell's bounds."""
        if circumstances.score > self.up_to_score:
            return False
        if not self.up_to_minor or circumstances.amount_minor is None:
            return True
        limit_minor = self.up_to_minor.get(circumstances.currency or "")
        return limit_minor is not None and circumstances.amount_minor <= limit_minor


@dataclass(frozen=True, slots=True)
class Authority:
    """The matrix. What is not in `cells` is not allowed."""

    version: str
    cells: Mapping[tuple[Role, Act], Cell]

    @classmethod
    def from_mapping(cls, settings: Mapping[str, object]) -> Authority:
        """Read the content of `configs/roles.toml`.

        Raises:
            ConfigurationError: a setting is missing, unknown or wrong; the message names it.
        """
        try:
            read = msgspec.convert(dict(settings), _Settings)
        except msgspec.ValidationError as error:
            message = f"roles: {error}"
            raise ConfigurationError(message) from None
        cells: dict[tuple[Role, Act], Cell] = {(role, act): Cell() for role, acts in read.may.items() for act in acts}
        for act, bounds in read.bounds.items():
            for role, bound in bounds.items():
                if (role, act) not in cells:
                    message = f"roles: bounds.{act}.{role} bounds what may.{role} does not allow"
                    raise ConfigurationError(message)
                if bound.four_eyes and (bound.up_to_minor or bound.up_to_score < 1.0):
                    message = f"roles: bounds.{act}.{role} has four_eyes for everything, and bounds as well"
                    raise ConfigurationError(message)
                cells[role, act] = Cell(bound.up_to_minor, bound.up_to_score, bound.beyond, bound.four_eyes)
        return cls(read.version, cells)

    def permits(self, role: Role, act: Act) -> bool:
        """Whether the role may do this at all, within whatever bounds."""
        return (role, act) in self.cells

    def needs_second(self, person: Person, act: Act, circumstances: Circumstances) -> bool:
        """Whether a second person must agree before this is done.

        Raises:
            NotAuthorisedError: the person may not do this, or not under these circumstances.
        """
        cell = self.cells.get((person.role, act))
        if cell is None:
            raise NotAuthorisedError(act, "role")
        if cell.always_four_eyes:
            return True
        if cell.within(circumstances):
            return False
        if cell.beyond is Beyond.FOUR_EYES:
            return True
        raise NotAuthorisedError(act, "bounds")

    def require(self, person: Person, act: Act) -> None:
        """Pass if the person may do this, by role alone.

        Raises:
            NotAuthorisedError: they may not.
        """
        if not self.permits(person.role, act):
            raise NotAuthorisedError(act, "role")


class _Bound(msgspec.Struct, forbid_unknown_fields=True):
    up_to_minor: dict[str, Annotated[int, msgspec.Meta(ge=0)]] = {}
    up_to_score: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 1.0
    beyond: Beyond = Beyond.NO
    four_eyes: bool = False


class _Settings(msgspec.Struct, forbid_unknown_fields=True):
    version: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    may: dict[Role, list[Act]]
    bounds: dict[Act, dict[Role, _Bound]] = {}
