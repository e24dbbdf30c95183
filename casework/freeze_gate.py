"""The gate in front of every freeze by an alert: asks the circuit breakers, and remembers what they said.

The number of freezes is one for all cards, while the cards' steps live in many shards. So the gate's answer is an
atomic step of its own, in front of the card's: known by the alert's id, it is the same whoever asks however often. An
alert that was let through and then turned out to freeze nothing has used one place up; never the other way round.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from casework import breaker as breakers
from casework.alerts import Alert
from casework.breaker import Breaker
from casework.errors import StoreContentionError
from casework.outbox import messages_of
from casework.playbook import Playbook
from casework.store import BreakerStep, Store

# Workers that freeze at once plan on one another's answers; see the desk for why twenty failures are no bad luck.
_ATTEMPTS = 20


class FreezeGate:
    """Asks, lists and releases the breakers. Raises what the store raises, and `StoreContentionError`."""

    def __init__(self, store: Store, playbook: Playbook) -> None:
        """Keep breakers in `store`, with the limits of `playbook`."""
        self._store = store
        self._playbook = playbook

    async def allowed(self, alerts: Sequence[Alert], now_ms: int) -> frozenset[str]:
        """Ids of those alerts that may freeze their card."""
        by_policy: defaultdict[str, list[Alert]] = defaultdict(list)
        for alert in alerts:
            by_policy[alert.policy_version].append(alert)
        allowed: frozenset[str] = frozenset()
        for policy_version, group in by_policy.items():
            allowed |= await self._ask(policy_version, group, now_ms)
        return allowed

    async def _ask(self, policy_version: str, alerts: Sequence[Alert], now_ms: int) -> frozenset[str]:
        limits = self._playbook.breaker_limits(policy_version)
        for _ in range(_ATTEMPTS):
            before = await self._store.load_breaker(policy_version)
            after, allowed, drafts = breakers.ask(before, alerts, limits, now_ms)
            messages = messages_of(_step_id(after), now_ms, drafts, None)
            if after is before or await self._store.commit_breaker(BreakerStep(before, after, messages, now_ms)):
                return allowed
        raise _contention()

    async def list(self) -> list[Breaker]:
        """Every breaker that ever had to let something through, by policy version."""
        return sorted(await self._store.list_breakers(), key=lambda breaker: breaker.policy_version)

    async def release(self, policy_version: str, actor: str, reason: str, now_ms: int) -> Breaker:
        """Close the breaker of a policy version; one that is closed stays so, and nothing is told."""
        for _ in range(_ATTEMPTS):
            before = await self._store.load_breaker(policy_version)
            after, drafts = breakers.release(before, actor, reason, now_ms)
            messages = messages_of(_step_id(after), now_ms, drafts, None)
            if after is before or await self._store.commit_breaker(BreakerStep(before, after, messages, now_ms)):
                return after
        raise _contention()


def _step_id(breaker: Breaker) -> str:
    """Names a change of a breaker: its revisions do not come again."""
    return f"breaker-{breaker.policy_version}-{breaker.revision}-{breaker.changed_ms}"


def _contention() -> StoreContentionError:
    message = f"the breaker changed during each of {_ATTEMPTS} attempts"
    return StoreContentionError(message)
