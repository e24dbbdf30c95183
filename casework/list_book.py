"""Keeping the desk's lists in the store: one atomic step a change, told to the scorer and the audit."""

from __future__ import annotations

from casework import lists
from casework.authority import Act, Authority, Person
from casework.errors import InvalidCommandError, StoreContentionError
from casework.lists import ListEntry, ListKey
from casework.outbox import messages_of
from casework.store import ListStep, Store

_ATTEMPTS = 20
_DAY_MS = 86_400_000


class ListBook:
    """The lists."""

    def __init__(self, store: Store, authority: Authority, longest_ms: int) -> None:
        """Keep them in `store`; an entry holds for `longest_ms` at most."""
        self._store = store
        self._authority = authority
        self._longest_ms = longest_ms

    async def entries(self, now_ms: int) -> list[ListEntry]:
        """What holds now, by name."""
        found = [entry for entry in await self._store.list_entries() if entry.holds(now_ms)]
        return sorted(found, key=lambda entry: entry.name)

    async def put(self, key: ListKey, by: Person, reason: str, until_ms: int, now_ms: int) -> ListEntry:
        """Put something on a list until then, or with 0 take it off. The same again changes nothing.

        Raises:
            NotAuthorisedError: the role may not edit lists.
            InvalidCommandError: the value or the time is out of bounds.
        """
        self._authority.require(by, Act.LISTS_EDIT)
        lists.check_key(key)
        if until_ms and not now_ms < until_ms <= now_ms + self._longest_ms:
            message = f"until_ms must be within {self._longest_ms // _DAY_MS} days from now"
            raise InvalidCommandError(message)
        for _ in range(_ATTEMPTS):
            before = await self._store.load_list_entry(key.name)
            after = lists.changed(before, key, by.name, reason, until_ms, now_ms)
            if before is not None and (before.until_ms, before.reason, before.owner) == (until_ms, reason, by.name):
                return before
            messages = messages_of(f"list-{after.name}-{after.revision}-{now_ms}", now_ms, lists.drafts_of(after), None)
            if await self._store.commit_list_entry(ListStep(before, after, messages, now_ms)):
                return after
        message = f"the entry changed during each of {_ATTEMPTS} attempts"
        raise StoreContentionError(message)
