"""Who may do what: the role matrix as data, in this one place.

Every route names the permission it needs; `permits` is the only reader of the matrix.
"""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType


class Role(Enum):
    """What an API key stands for; the value is its name in configuration."""

    AGENT = "agent"
    SENIOR_AGENT = "senior_agent"
    PAYMENT_SYSTEM = "payment_system"
    SRE = "sre"


class Permission(Enum):
    """One thing that may be allowed."""

    CARD_READ = "card_read"
    CARD_FREEZE = "card_freeze"
    CARD_UNFREEZE = "card_unfreeze"
    CARD_BLOCK = "card_block"
    CASE_READ = "case_read"
    CASE_OVERRIDE = "case_override"
    CONSOLE = "console"
    METRICS_READ = "metrics_read"
    BREAKER_READ = "breaker_read"
    BREAKER_RELEASE = "breaker_release"
    PAYMENT_DECIDE = "payment_decide"


_AGENT = frozenset(
    {
        Permission.CARD_READ,
        Permission.CARD_FREEZE,
        Permission.CARD_UNFREEZE,
        Permission.CASE_READ,
        Permission.CASE_OVERRIDE,
        Permission.CONSOLE,
    }
)

ROLE_MATRIX: MappingProxyType[Role, frozenset[Permission]] = MappingProxyType(
    {
        Role.AGENT: _AGENT,
        # Blocking ends the life of a card, so it takes a senior agent; so does letting a policy freeze cards again,
        # for that is a judgement on the alerts it held.
        Role.SENIOR_AGENT: _AGENT | {Permission.CARD_BLOCK, Permission.BREAKER_READ, Permission.BREAKER_RELEASE},
        # A payment system learns of a lost card before we do. It may stop a card but never let one go again.
        Role.PAYMENT_SYSTEM: frozenset({Permission.CARD_READ, Permission.CARD_FREEZE, Permission.PAYMENT_DECIDE}),
        # Those who run the service see how it does, not what cardholders do. They are woken by an open breaker, so they
        # may close it.
        Role.SRE: frozenset({Permission.METRICS_READ, Permission.BREAKER_READ, Permission.BREAKER_RELEASE}),
    }
)


def permits(role: Role, permission: Permission) -> bool:
    """Whether the role holds the permission."""
    return permission in ROLE_MATRIX[role]
