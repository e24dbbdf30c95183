"""A person at the desk: one command on one card, asked again under its Idempotency-Key until it is answered."""

from __future__ import annotations

import asyncio

from casework.adapters.memory_store import MemoryStore
from casework.authority import Person as Actor
from casework.authority import Role
from casework.desk import Desk
from casework.errors import CaseworkError, StoreError
from casework.views import CardView
from detector.vocabulary import CardStatus
from tests.casework.examples import desk_on
from tests.sim.redis import reached_from
from tests.sim.world import World

_ASK_AGAIN_S = 0.7


class Person:
    """Somebody who unfreezes or freezes a card.

    Attributes:
        told: the answer they were given, if any.
        is_done: whether they have been answered or refused, or are gone.
    """

    def __init__(self, world: World, redis: MemoryStore, number: int, cards: int) -> None:
        """A person who has not begun."""
        self.number = number
        self.card_token = f"card-{world.rng.randrange(cards)}"
        self.by = Actor(f"agent-{number}", Role.SUPERVISOR)
        self.target = world.rng.choice((CardStatus.ACTIVE, CardStatus.FROZEN))
        self.told: CardView | None = None
        self.is_done = False
        self._world = world
        self._redis = redis
        self._lives = 0

    def begin(self) -> None:
        """Begin, or begin again after the process that asked has died."""
        self._lives += 1
        process = self._world.process(f"person-{self.number}/{self._lives}", 0)
        process.at_death.append(self._again)
        process.run(self._command(desk_on(reached_from(process, self._redis))))

    def _again(self) -> None:
        if not self.is_done:
            self._world.after(_ASK_AGAIN_S, self.begin)

    async def _command(self, desk: Desk) -> None:
        while not self.is_done:
            try:
                self.told = await desk.set_card_state(
                    self.card_token, self.target, "a call", self.by,
                    now_ms=self._world.processes[0].clock_ms(), idempotency_key=f"key-{self.number}",
                )  # fmt: skip
                self.is_done = True
            except StoreError:
                await asyncio.sleep(_ASK_AGAIN_S)
            except CaseworkError:
                self.is_done = True  # refused: unfreezing takes more than a call
