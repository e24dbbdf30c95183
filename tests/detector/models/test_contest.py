"""The contest: chance is hardly ever promoted, what is better is, and what turns out worse is rolled back."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detector.models.contest import CAPITAL, PROMOTED, ROLLED_BACK, WORDS, Contest, ContestRules, bet, log_losses

_RULES = ContestRules(margin=0.02, least_frauds=200, error_rate=0.05, block_frauds=10)
Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


def _stream(seed: int, rows: int, offsets: tuple[float, ...], noise: float) -> tuple[Floats, Codes]:
    """Labels drawn from true log-odds, and contenders that see them with noise and an offset each."""
    rng = np.random.default_rng(seed)
    true = rng.normal(-2.5, 2.0, rows)
    labels = (rng.random(rows) < 1.0 / (1.0 + np.exp(-true))).astype(np.int64)
    return np.stack([true + offset + rng.normal(0.0, noise, rows) for offset in offsets], axis=1), labels


def _play(contest: Contest, log_odds: Floats, labels: Codes, cuts: int = 1) -> Contest:
    for rows in np.array_split(np.arange(len(labels)), cuts):
        contest.take(log_odds[rows], labels[rows], np.ones(len(rows)), rows.astype(np.int64))
    return contest


@pytest.mark.compiled
def test_equals_are_hardly_ever_promoted() -> None:
    """Of 400 challengers no better than their champion, looked at for 5,000 frauds without a pause, 5% may ever win.

    The margin is 0 here, so that this is the edge itself: with a margin it is rarer still.
    """
    rules = ContestRules(margin=0.0, least_frauds=50, error_rate=0.05, block_frauds=10)
    won = 0
    for seed in range(400):
        log_odds, labels = _stream(seed, 30_000, (0.0, 0.0), 0.7)
        won += bool(_play(Contest(("champion", "equal"), (True, True), rules), log_odds, labels).verdicts)
    assert won <= 0.05 * 400 + 10


@pytest.mark.compiled
@pytest.mark.parametrize(("share", "loss"), [(0.05, -1.9), (0.01, -1.98), (0.5, -0.1), (0.95, -0.1 / 19)])
def test_skewed_blocks_do_not_break_the_error(share: float, loss: float) -> None:
    """Gains of mean 0, most a little above it and few far below, or the other way: a twentieth of runs may ever win."""
    won, gain = 0, -loss * share / (1.0 - share)
    for seed in range(1_000):
        own, most = np.zeros(WORDS), 0.0
        for is_loss in (np.random.default_rng(seed).random(1_000) < share).tolist():
            bet(loss if is_loss else gain, own)
            most = max(most, own[CAPITAL])
        won += most >= np.log(1 / 0.05)
    assert won <= 0.05 * 1_000 + 15


@pytest.mark.compiled
def test_what_is_better_is_promoted_with_a_record() -> None:
    """A champion with a wrong offset loses to one without, over at least the stated frauds, by at least the margin."""
    log_odds, labels = _stream(1, 60_000, (1.5, 0.0), 0.3)
    contest = _play(Contest(("old", "new"), (True, True), _RULES), log_odds, labels)
    (verdict,) = contest.verdicts
    assert (verdict.kind, verdict.winner, verdict.loser) == (PROMOTED, "new", "old")
    assert verdict.frauds >= 200
    assert verdict.gain > 0.02
    assert verdict.evidence >= 1 / 0.05
    assert contest.names[contest.champion] == "new"


@pytest.mark.compiled
def test_what_turns_out_worse_is_rolled_back() -> None:
    """A challenger that wins and then goes wrong gives its place back to the one it took it from."""
    good, labels = _stream(2, 60_000, (1.5, 0.0), 0.3)
    bad, more = _stream(3, 60_000, (0.0, 2.0), 0.3)
    contest = Contest(("old", "new"), (True, True), _RULES)
    _play(contest, np.concatenate([good, bad]), np.concatenate([labels, more]))
    assert [(verdict.kind, verdict.winner) for verdict in contest.verdicts] == [
        (PROMOTED, "new"),
        (ROLLED_BACK, "old"),
    ]


@pytest.mark.compiled
@pytest.mark.parametrize("cuts", [7, 500])
def test_cuts_do_not_change_a_verdict(cuts: int) -> None:
    """However the examples are cut into calls, the same one decides."""
    log_odds, labels = _stream(4, 30_000, (1.0, 0.0, -1.0), 0.5)
    names, may = ("a", "b", "c"), (True, True, True)
    whole = _play(Contest(names, may, _RULES), log_odds, labels)
    pieces = _play(Contest(names, may, _RULES), log_odds, labels, cuts)
    assert whole.verdicts
    assert pieces.verdicts == whole.verdicts
    assert pieces.table.tobytes() == whole.table.tobytes()


def test_a_model_that_cannot_score_live_is_never_champion() -> None:
    """River's own models are compared, not elected: nothing compiled would act for them."""
    log_odds, labels = _stream(1, 8_000, (1.5, 0.0), 0.3)
    assert not _play(Contest(("old", "river"), (True, False), _RULES), log_odds, labels).verdicts


def test_losses_are_bounded() -> None:
    """One payment that a model was sure of and wrong about does not outweigh a thousand."""
    losses = log_losses(np.array([0.0, 100.0, 1000.0, -1000.0]), np.array([1, 1, 0, 1]))
    assert losses == pytest.approx([np.log(2.0), 0.0, 20.0, 20.0])
