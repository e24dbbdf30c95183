"""Who owns which partition of payments, as the coordinator of the score workers' group says several times a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streams.topics import TRANSACTIONS
from tests.services.process import wait_until

_LOOK_S = 0.2
_ASK_S = 5
# Owners have been the same for so long.
STEADY_S = 3.0
WITHIN_S = 90.0

# The member that owns each partition.
Owners = dict[int, str]


class OwnersWatch(threading.Thread):
    """Asks until it is told to finish.

    Attributes:
        owners: at the last look.
    """

    def __init__(self, bootstrap_servers: str, group: str, changed: Callable[[Owners], None] = lambda _: None) -> None:
        """Watch a group; `changed` is told of other owners than before, in the thread of the watch."""
        super().__init__(name="owners", daemon=True)
        self._admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
        self._group = group
        self._changed = changed
        self._end = threading.Event()
        self._since_s = time.monotonic()
        self.owners: Owners = {}

    def run(self) -> None:
        """Ask until told to end."""
        while not self._end.wait(_LOOK_S):
            try:
                owners = self._ask()
            except KafkaException:
                continue
            if owners != self.owners:
                self.owners, self._since_s = owners, time.monotonic()
                self._changed(owners)

    def finish(self) -> None:
        """End."""
        self._end.set()
        self.join()

    def wait_steady(self, partitions: int, workers: int) -> None:
        """Return when so many workers own all partitions between them, and have for some seconds.

        Raises:
            TimeoutError: they do not come to that.
        """

        def is_steady() -> bool:
            owners = self.owners
            is_whole = len(owners) == partitions and len(set(owners.values())) == workers
            return is_whole and time.monotonic() - self._since_s > STEADY_S

        wait_until(is_steady, seconds=WITHIN_S, what=f"{workers} workers own all partitions")

    def _ask(self) -> Owners:
        found = self._admin.describe_consumer_groups([self._group], request_timeout=_ASK_S)[self._group].result()
        return {
            place.partition: member.member_id
            for member in found.members
            for place in member.assignment.topic_partitions
            if place.topic == TRANSACTIONS
        }
