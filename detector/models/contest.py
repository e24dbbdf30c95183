"""The contest: a challenger becomes champion when it is better by a margin, and not sooner than that can be known.

Every labelled example is a round: what the champion's belief of the moment before cost in log loss, less what the
challenger's did. Rounds are put together until they hold some frauds, since the payments of one attack speak with one
voice; such a block says how many nats a fraud the challenger gained, beyond the margin.

Looking at a mean again and again and stopping when it looks good would promote chance. So the contest bets: from a
capital of 1, before each block a share of it is staked on the challenger, more where it has gained steadily so far.
Where the challenger is no better than the margin, such a game is not favourable, whatever the blocks look like, and the
capital ever reaches 1 / error with a probability of at most the error (Ville's inequality), at all times together. It
is the challenger that wins when it does. A bound made for symmetric gains promoted three times too often where most
blocks gain a little and a few lose much; this one holds there as well.

A champion that was beaten stays in the contest; when it wins its place back, that is a rollback.

Sources: Ville: *Etude critique de la notion de collectif* (1939); Waudby-Smith, Ramdas: *Estimating means of bounded
random variables by betting* (2024).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.jit import constants, kernel

# What is known of each contender against the champion.
GAIN, BLOCK_FRAUDS, BLOCKS, SUM, SQUARES, FRAUDS, CAPITAL = constants(7)
WORDS = 7
# Of a block's gain in nats a fraud: bets need a largest loss, and one block never decides.
LARGEST_GAIN = 2.0
_LARGEST_STAKE = 0.5 / LARGEST_GAIN
# Squared nats of the one block that is imagined before the first.
_FIRST_SQUARE = 0.25
# More than any loss.
_NEVER_BETTER = 1e3
PROMOTED, ROLLED_BACK = "promoted", "rolled_back"
CONTEST = "contest"
# Changes of champions that are kept; more would be several a day for a year.
KEPT_VERDICTS = 1_000
# More is not told than a thousand million million: what a long reign gathers has no number.
_LARGEST_LOGARITHM = 34.0


@dataclass(frozen=True, slots=True)
class ContestRules:
    """When a challenger wins.

    Attributes:
        margin: nats of log loss a fraud that it must be better by.
        least_frauds: over at least so many frauds.
        error_rate: how often at most, in a reign, challengers that are not better by the margin ever win.
        block_frauds: frauds that make a block.
    """

    margin: float = 0.02
    least_frauds: int = 300
    error_rate: float = 0.05
    block_frauds: int = 10


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is kept of a change of champions, for ever.

    Attributes:
        kind: "promoted" or "rolled_back", with "_by_hand" where a person said so; then there is no evidence.
        winner, loser: names of contenders; of versions, where a person put another version in place.
        label_time_ms: of the example that decided.
        frauds: that the two were compared on.
        gain: nats a fraud that the winner was better by, and had to be better by more than the margin.
        evidence: how many times over a bet on it had won; one over the error rate is enough.
        actor: who decided: "contest", or the name of a person.
        note: why, in the person's words.
    """

    kind: str
    winner: str
    loser: str
    label_time_ms: int
    frauds: float
    gain: float
    evidence: float
    actor: str = CONTEST
    note: str = ""


@kernel
def bet(gain: float, own: NDArray[np.float64]) -> None:
    """Stake on a block by what was seen before it, then take it in: `own[CAPITAL]` is the logarithm of the capital."""
    gain = min(max(gain, -LARGEST_GAIN), LARGEST_GAIN)
    stake = min(max(own[SUM] / (own[SQUARES] + _FIRST_SQUARE), 0.0), _LARGEST_STAKE)
    own[CAPITAL] += math.log1p(stake * gain)
    own[BLOCKS] += 1.0
    own[SUM] += gain
    own[SQUARES] += gain * gain


@kernel
def play(
    losses: NDArray[np.float64],
    labels: NDArray[np.int64],
    example_weights: NDArray[np.float64],
    start: int,
    champion: int,
    rules: NDArray[np.float64],
    table: NDArray[np.float64],
) -> tuple[int, int]:
    """Play rounds from `start` on until a challenger wins.

    `losses` is (n, contenders); `rules` holds margin, least frauds, the capital's logarithm that wins, frauds a
    block; `table` has a row a contender. Returns (rounds played, winner), the winner -1 where nobody won.
    """
    for row in range(start, losses.shape[0]):
        for contender in range(losses.shape[1]):
            if contender == champion:
                continue
            own = table[contender]
            own[GAIN] += example_weights[row] * (losses[row, champion] - losses[row, contender])
            own[BLOCK_FRAUDS] += example_weights[row] * labels[row]
            if own[BLOCK_FRAUDS] < rules[3]:
                continue
            bet(own[GAIN] / own[BLOCK_FRAUDS] - rules[0], own)
            own[FRAUDS] += own[BLOCK_FRAUDS]
            own[GAIN] = own[BLOCK_FRAUDS] = 0.0
            if own[FRAUDS] >= rules[1] and own[CAPITAL] >= rules[2]:
                return row + 1, contender
    return losses.shape[0], -1


def log_losses(log_odds: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Minus the logarithm of the probability that was given to what was true, at most 20."""
    margins = np.where(labels == 1, log_odds, -log_odds)
    return np.minimum(np.logaddexp(0.0, -margins), 20.0)


class Contest:
    """A champion and its challengers, and what is known of who is better.

    Attributes:
        names: of the contenders.
        champion: index of the one that acts.
        table: float64 (contenders, 7), what is known of each against the champion.
        verdicts: changes of champions, oldest first, the last thousand.
    """

    def __init__(self, names: Sequence[str], electable: Sequence[bool], rules: ContestRules | None = None) -> None:
        """Let the first of `names` be champion.

        Args:
            names: of the contenders, each once.
            electable: whether each may become champion; the others are only compared.
            rules: when a challenger wins; the defaults if not given.
        """
        self.names = tuple(names)
        self.champion = 0
        self.verdicts: list[Verdict] = []
        self.rules = rules or ContestRules()
        self.table = np.zeros((len(self.names), WORDS))
        self._electable = np.array(electable, dtype=bool)

    def take(
        self,
        log_odds: NDArray[np.float64],
        labels: NDArray[np.int64],
        example_weights: NDArray[np.float64],
        label_time_ms: NDArray[np.int64],
    ) -> None:
        """Play the rounds of some examples; the champion may change between two of them.

        Args:
            log_odds: float64 (n, contenders), what each believed just before it learned the example.
            labels: 1 fraud, 0 genuine.
            example_weights: what each example counts for.
            label_time_ms: when each became known, for the record.
        """
        losses = np.stack([log_losses(column, labels) for column in log_odds.T], axis=1)
        # Who may not be elected is never better.
        losses[:, ~self._electable] = _NEVER_BETTER
        rules = self.rules
        # Several challengers share the error.
        enough = math.log(max(1, int(self._electable.sum()) - 1) / rules.error_rate)
        numbers = np.array([rules.margin, rules.least_frauds, enough, rules.block_frauds], dtype=np.float64)
        start = 0
        while start < len(labels):
            start, winner = play(losses, labels, example_weights, start, self.champion, numbers, self.table)
            if winner >= 0:
                self._crown(winner, int(label_time_ms[start - 1]))

    def _crown(self, winner: int, time_ms: int) -> None:
        """Change champions, and begin to compare anew."""
        row = self.table[winner]
        last = self.verdicts[-1] if self.verdicts else None
        is_return = last is not None and last.loser == self.names[winner]
        self.verdicts.append(
            Verdict(
                kind=ROLLED_BACK if is_return else PROMOTED,
                winner=self.names[winner],
                loser=self.names[self.champion],
                label_time_ms=time_ms,
                frauds=float(row[FRAUDS]),
                gain=float(row[SUM] / row[BLOCKS]) + self.rules.margin,
                evidence=math.exp(min(row[CAPITAL], _LARGEST_LOGARITHM)),
            )
        )
        del self.verdicts[:-KEPT_VERDICTS]
        self.champion = winner
        self.table[:] = 0.0
