"""The memory of notices and the records of cardholders in this process: for tests. It forgets everything on exit."""

from __future__ import annotations

from collections import defaultdict

from casework.contacts import ContactRecord
from casework.deliveries import Delivery, PutOff


class MemoryNotices:
    """`Deliveries` and `Contacts` on dictionaries; nothing is ever too old."""

    def __init__(self) -> None:
        """Begin empty."""
        self._deliveries: dict[str, Delivery] = {}
        self._contacts: dict[str, ContactRecord] = {}
        self._later: defaultdict[int, dict[str, PutOff]] = defaultdict(dict)

    async def find(self, notification_id: str) -> Delivery | None:
        """See `Deliveries`."""
        return self._deliveries.get(notification_id)

    async def remember(self, delivery: Delivery) -> None:
        """See `Deliveries`."""
        self._deliveries[delivery.notification_id] = delivery

    async def of_case(self, case_id: str) -> list[Delivery]:
        """See `Deliveries`."""
        found = (delivery for delivery in self._deliveries.values() if delivery.case_id == case_id)
        return sorted(found, key=lambda delivery: (delivery.requested_ms, delivery.notification_id))

    async def put_off(self, partition: int, later: PutOff) -> None:
        """See `Deliveries`."""
        self._later[partition][later.notice.notification_id] = later

    async def due(self, partition: int, now_ms: int, count: int) -> list[PutOff]:
        """See `Deliveries`."""
        found = [later for later in self._later[partition].values() if later.due_ms <= now_ms]
        return sorted(found, key=lambda later: (later.due_ms, later.notice.notification_id))[:count]

    async def settle(self, partition: int, notification_id: str) -> None:
        """See `Deliveries`."""
        self._later[partition].pop(notification_id, None)

    async def contact(self, card_token: str) -> ContactRecord | None:
        """See `Contacts`."""
        return self._contacts.get(card_token)

    async def put_contact(self, card_token: str, contact: ContactRecord) -> None:
        """See `Contacts`."""
        self._contacts[card_token] = contact
