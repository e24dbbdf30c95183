"""Shadows: what challengers, and a policy that is tried out, would have decided: written down, acted upon by nothing.

A challenger's scores go through the policy that acts, and the acting model's through the policy that is tried, by the
very code that decides: what differs is due to the model or to the policy alone. Rules, card states, damped reasons and
the random reviews are the same for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detector.models.version import ModelVersion
from detector.policy import Policy, PolicyInputs


@dataclass(frozen=True, slots=True)
class Shadow:
    """What one that does not act would have decided of a batch.

    Attributes:
        model: name of the contender that scored.
        policy: version of the policy that decided.
        score: float64, calibrated probability of fraud; as the assessments' own, 0 where there is nothing to score.
        action: int64 codes of `Action`.
        is_policy: whether the policy is what is tried, and not the model.
    """

    model: str
    policy: str
    score: NDArray[np.float64]
    action: NDArray[np.int64]
    is_policy: bool = False

    @property
    def name(self) -> str:
        """What is tried: "model faster" or "policy 2026-12"."""
        return f"policy {self.policy}" if self.is_policy else f"model {self.model}"

    def differences(self, action: NDArray[np.int64], actions: int) -> NDArray[np.int64]:
        """How often each pair of actions came about.

        Args:
            action: int64, that really answered.
            actions: how many codes there are.

        Returns:
            int64 (actions, actions), by the real action and the shadow's.
        """
        return np.bincount(action * actions + self.action, minlength=actions * actions).reshape(actions, actions)

    def at(self, rows: NDArray[np.int64]) -> Shadow:
        """The same of some rows."""
        return replace(self, score=self.score[rows], action=self.action[rows])


def shadows_of(
    inputs: PolicyInputs, scores: Sequence[NDArray[np.float64]], policy: Policy, tried: Policy | None
) -> Iterator[Shadow]:
    """Decide once more for each challenger of the model, and for a policy that is tried out.

    Args:
        inputs: what was decided on.
        scores: of each challenger, settled as the acting model's are.
        policy: that acts.
        tried: that does not; None for none.
    """
    model: ModelVersion = inputs.model
    for challenger, score in zip(model.challengers, scores, strict=True):
        own = replace(inputs, score=score, model=challenger)
        yield Shadow(challenger.model, policy.version, score, policy.decide(own).action)
    if tried is not None:
        yield Shadow(model.model, tried.version, inputs.score, tried.decide(inputs).action, is_policy=True)


def join_shadows(parts: Sequence[Sequence[Shadow]]) -> tuple[Shadow, ...]:
    """The shadows of a batch from those of its pieces, in order."""
    return tuple(
        replace(
            pieces[0],
            score=np.concatenate([piece.score for piece in pieces]),
            action=np.concatenate([piece.action for piece in pieces]),
        )
        for pieces in zip(*parts, strict=True)
    )
