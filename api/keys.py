"""API keys: configured as SHA-256 digests, compared in constant time.

A plain SHA-256 is enough because keys are random and long (32 random bytes, as `secrets.token_urlsafe(32)` makes
them), not chosen by people: there is nothing to guess offline.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass

from api.errors import AuthenticationError, KeyConfigurationError
from api.roles import Role
from casework.authority import Person

_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
# A cardholder comes by a link for one case, never with a key for all of them.
KEY_ROLES: tuple[Role, ...] = tuple(role for role in Role if role is not Role.CARDHOLDER)


def hash_key(secret: str) -> str:
    """The hex SHA-256 digest under which a key stands in configuration."""
    return hashlib.sha256(secret.encode()).hexdigest()


def is_actor_name(name: str) -> bool:
    """Whether somebody may stand in events under this name: 1 to 64 of a-z 0-9 . _ @ -, a letter or digit first."""
    return _NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One configured key.

    Attributes:
        name: who holds it; the actor of everything done with it, in cases, card states and logs.
        role: what it may do.
        sha256: hex digest of the secret.
    """

    name: str
    role: Role
    sha256: str

    @property
    def person(self) -> Person:
        """Its holder, as events name them."""
        return Person(self.name, self.role)


class ApiKeys:
    """The configured keys."""

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        """Check the keys against each other.

        Raises:
            KeyConfigurationError: a name or digest is malformed or occurs twice.
        """
        self._keys = tuple(keys)
        self._by_name = {key.name: key for key in self._keys}
        for key in self._keys:
            if key.role not in KEY_ROLES:
                message = f"API key {key.name}: role must be one of {', '.join(KEY_ROLES)}"
                raise KeyConfigurationError(message)
            if not is_actor_name(key.name):
                message = "an API key's name has 1 to 64 of a-z 0-9 . _ @ - and starts with a letter or digit"
                raise KeyConfigurationError(message)
            if not _DIGEST.fullmatch(key.sha256):
                message = f"API key {key.name}: sha256 must be the 64 lower-case hex digits of the key's SHA-256"
                raise KeyConfigurationError(message)
        if len(self._by_name) < len(self._keys):
            message = "two API keys have the same name; every key needs its own, it is the actor in the audit trail"
            raise KeyConfigurationError(message)
        if len({key.sha256 for key in self._keys}) < len(self._keys):
            message = "two API keys have the same sha256; every key needs a secret of its own"
            raise KeyConfigurationError(message)

    @property
    def names(self) -> frozenset[str]:
        """Under which names their holders act."""
        return frozenset(self._by_name)

    @classmethod
    def from_mapping(cls, mapping: dict[str, dict[str, str]]) -> ApiKeys:
        """Keys from configuration: `{name: {"role": ..., "sha256": ...}}`.

        Raises:
            KeyConfigurationError: an entry is malformed; the message names the key and what would be right.
        """
        roles = {role.value: role for role in KEY_ROLES}
        keys = []
        for name, entry in mapping.items():
            role = roles.get(entry.get("role", ""))
            if role is None:
                message = f"API key {name}: role must be one of {', '.join(roles)}"
                raise KeyConfigurationError(message)
            keys.append(ApiKey(name, role, entry.get("sha256", "")))
        return cls(keys)

    def authenticate(self, secret: str) -> ApiKey:
        """The key a secret belongs to.

        Every configured digest is compared, in constant time each, so timing tells neither which key nor how much of
        it matched.

        Raises:
            AuthenticationError: no key has this secret.
        """
        digest = hash_key(secret)
        found: ApiKey | None = None
        for key in self._keys:
            if hmac.compare_digest(key.sha256, digest):
                found = key
        if found is None:
            message = "unknown API key"
            raise AuthenticationError(message)
        return found

    def named(self, name: str) -> ApiKey:
        """The key of this name, for sessions that were opened with it.

        Raises:
            AuthenticationError: no such key (any more).
        """
        key = self._by_name.get(name)
        if key is None:
            message = "the session's API key is no longer configured"
            raise AuthenticationError(message)
        return key
