"""How good scores are: AUC ROC, Average Precision and Card Precision@k, as the fraud detection handbook defines them.

Source: Le Borgne, Siblini, Lebichot, Bontempi: *Reproducible Machine Learning for Credit Card Fraud Detection*, ch. 4.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DAY_MS = 86_400_000


def auc_roc(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> float:
    """Area under the ROC curve: the probability that a fraud scores above a genuine payment, ties counting half.

    Args:
        labels: 1 fraud, 0 genuine.
        scores: higher is more suspicious.

    Returns:
        The area, NaN where one of the classes is missing.
    """
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    ends = np.concatenate([starts[1:], [len(ranked)]])
    mean_ranks = np.repeat((starts + ends + 1) / 2.0, ends - starts)
    frauds = int(labels.sum())
    genuine = len(labels) - frauds
    if not frauds or not genuine:
        return float("nan")
    rank_sum = float(mean_ranks[labels[order] == 1].sum())
    return (rank_sum - frauds * (frauds + 1) / 2.0) / (frauds * genuine)


def average_precision(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> float:
    """Average precision: the sum of precision times the gain in recall over falling thresholds; NaN without frauds."""
    frauds = int(labels.sum())
    if not frauds:
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(labels[order])
    last_of_ties = np.concatenate([ranked[1:] != ranked[:-1], [True]])
    true_positives = hits[last_of_ties]
    precision = true_positives / (np.flatnonzero(last_of_ties) + 1)
    gained = np.diff(np.concatenate([[0], true_positives]))
    return float((precision * gained).sum() / frauds)


def card_precision_at(
    labels: NDArray[np.int64],
    scores: NDArray[np.float64],
    cards: NDArray[np.int64],
    event_time_ms: NDArray[np.int64],
    top: int = 100,
    forget_days: int = 7,
) -> float:
    """Card Precision@k: of the `top` most suspicious cards of a day, the share that was really hit, mean over days.

    A card's score on a day is its highest; a card found compromised is not looked at again for `forget_days`.
    """
    days = event_time_ms // DAY_MS
    precisions: list[float] = []
    caught: dict[int, int] = {}
    for day in np.unique(days).tolist():
        rows = np.flatnonzero(days == day)
        names, inverse = np.unique(cards[rows], return_inverse=True)
        best, hit = np.full(len(names), -np.inf), np.zeros(len(names), dtype=np.int64)
        np.maximum.at(best, inverse, scores[rows])
        np.maximum.at(hit, inverse, labels[rows])
        watched = np.array([day - caught.get(name, day - forget_days - 1) > forget_days for name in names.tolist()])
        chosen = np.flatnonzero(watched)[np.argsort(-best[watched], kind="stable")[:top]]
        found = names[chosen[hit[chosen] == 1]]
        caught.update(dict.fromkeys(found.tolist(), day))
        precisions.append(len(found) / top)
    return float(np.mean(precisions)) if precisions else float("nan")
