"""Who somebody is here, by the claims of their ID token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.card_numbers import contains_card_number
from api.errors import RoleMissingError, SignInRefusedError
from api.keys import is_actor_name
from api.oidc.refused import Refused
from api.oidc.settings import ProviderSettings
from api.oidc.tokens import Claims
from casework.authority import TIERS, Role
from casework.cards import SYSTEM_ACTOR

# These act in events under names of their own.
_TAKEN = frozenset({SYSTEM_ACTOR, Role.CARDHOLDER.value})


def name_of(claims: Claims, settings: ProviderSettings, machines: frozenset[str]) -> str:
    """The name under which events know a person, in lower case.

    Args:
        claims: verified ones.
        settings: says which claim.
        machines: names of API keys; no person may act under one.

    Raises:
        SignInRefusedError: there is none, or it cannot stand in events.
    """
    value = claims.get(settings.name_claim)
    name = value.strip().lower() if isinstance(value, str) else ""
    if not is_actor_name(name) or name in _TAKEN or name in machines or contains_card_number(name):
        raise SignInRefusedError(Refused.NAME)
    return name


def provider_role_of(claims: Claims, settings: ProviderSettings) -> str:
    """The provider's word for a person's role; of several the one that means most here.

    Raises:
        RoleMissingError: none means anything here.
    """
    given = _claim_at(claims, settings.roles_claim)
    words = [given] if isinstance(given, str) else given if isinstance(given, list) else []
    known = [word for word in words if isinstance(word, str) and word in settings.roles]
    if not known:
        raise RoleMissingError(settings.ask)
    return max(known, key=lambda word: TIERS.get(settings.roles[word], 0))


def _claim_at(claims: Claims, name: str) -> Any:
    """A claim by its name, or by a path into objects: names may be addresses, and so hold dots themselves."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(part)
    return found
