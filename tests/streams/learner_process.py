"""A learner as a process of its own that kills itself, as `kill -9` does, before or after a step it is told."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry

from detector.models import ModelsConfig, ModelVersion, Trainer
from streams.app import Role, run_worker
from streams.learn import LearnRole
from streams.metrics import StreamMetrics
from streams.settings import StreamSettings
from tests.detector.models.helpers import DIGEST, GRIDS, models_mapping
from tests.streams.stand_in import KEY

CHALLENGERS = [
    {"name": "faster", "logistic": {"learning_rate": 0.3}},
    {"name": "bayes", "river": [{"name": "naive_bayes.GaussianNB"}]},
]
# In the order in which they come.
STEPS = ("learn", "version", "to_bytes", "send", "drained", "commit")


def new_trainer() -> Trainer:
    return Trainer(ModelsConfig.from_mapping(models_mapping() | {"challengers": CHALLENGERS}), GRIDS, DIGEST)


class Death:
    """Kills this process at a step, before it or after it."""

    def __init__(self, step: str, *, is_before: bool) -> None:
        self.step = step
        self._is_before = is_before

    def around(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def deadly(*arguments: Any, **named: Any) -> None:
            if not self._is_before:
                step(*arguments, **named)
            os.kill(os.getpid(), signal.SIGKILL)

        async def deadly_later(*arguments: Any, **named: Any) -> None:
            if not self._is_before:
                await step(*arguments, **named)
            os.kill(os.getpid(), signal.SIGKILL)

        return deadly_later if self.step in {"send", "drained", "commit"} else deadly


def _arm(role: LearnRole, death: Death) -> None:
    """Put the death in place of the step, once the learner has warmed up and has a trainer."""
    watched: Any = role
    take_newest = watched._take_newest

    async def take_newest_and_arm() -> int:
        offset = int(await take_newest())
        owners = {
            "learn": watched._trainer, "version": watched._trainer, "to_bytes": ModelVersion,
            "send": watched._producer, "drained": watched._producer, "commit": watched._shell,
        }  # fmt: skip
        owner: Any = owners[death.step]
        setattr(owner, death.step, death.around(getattr(owner, death.step)))
        return offset

    watched._take_newest = take_newest_and_arm


def main() -> None:
    """Take the settings, and the step, as JSON from the command line."""
    settings = StreamSettings(fingerprint_key=KEY, **json.loads(sys.argv[1]))
    step, is_before = json.loads(sys.argv[2])

    def roles() -> list[Role]:
        role = LearnRole(new_trainer, settings, StreamMetrics(CollectorRegistry()))
        if step:
            _arm(role, Death(step, is_before=is_before))
        return [role]

    run_worker(roles)


if __name__ == "__main__":
    main()
