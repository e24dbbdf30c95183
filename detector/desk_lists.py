"""The desk's lists of cards, merchants, terminals, devices and countries, laid over the policy.

A list that blocks or watches is one that the policy's rules name; its entries stand beside those of policy.toml, each
until a time. Time is event time: what is expired by the latest payment seen acts no more.
"""

from __future__ import annotations

from collections.abc import Sequence

from detector.errors import ConfigurationError
from detector.policy import Policy

_NEVER_MS = 1 << 62


class DeskLists:
    """Entries of named lists."""

    def __init__(self) -> None:
        """Start with none."""
        self._entries: dict[str, dict[str, int]] = {}
        self._changed = False
        self._next_expiry_ms = _NEVER_MS
        self._applied: Policy | None = None
        self._base: Policy | None = None

    def put(self, name: str, value: str, until_ms: int) -> None:
        """Put a value on a list until then; 0 takes it off."""
        entries = self._entries.setdefault(name, {})
        if until_ms > 0:
            entries[value] = until_ms
        else:
            entries.pop(value, None)
        self._changed = True

    def over(self, policy: Policy, time_ms: int) -> Policy:
        """The policy with the entries that hold at `time_ms`; made anew only when they are others.

        Args:
            policy: as configured.
            time_ms: event time of the latest payment.
        """
        is_fresh = self._applied is not None and self._base is policy and not self._changed
        if self._applied is None or not is_fresh or time_ms >= self._next_expiry_ms:
            self._base, self._changed = policy, False
            self._applied = self._lay_over(policy, time_ms)
        return self._applied

    def _lay_over(self, policy: Policy, time_ms: int) -> Policy:
        configured = policy.list_values()
        lists: dict[str, Sequence[object]] = {}
        expiries = [_NEVER_MS]
        for name, entries in self._entries.items():
            current = {value: until_ms for value, until_ms in entries.items() if time_ms < until_ms}
            expiries += current.values()
            if name in configured:
                lists[name] = [*configured[name], *current]
        self._next_expiry_ms = min(expiries)
        try:
            return policy.with_lists(lists) if lists else policy
        except ConfigurationError:
            # A list of numbers in policy.toml under a name of the desk's: what is configured stands.
            return policy
