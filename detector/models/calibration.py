"""Calibration: makes the probability that is told the share of frauds that is found, on a sliding window of labels.

Every labelled example says, just before it is learned, what log-odds the model gives it. The window counts examples,
frauds and predicted frauds by that log-odds. From the top down, neighbouring cells are put together until they hold
enough frauds; each such band has an offset that makes its predicted frauds those found. Bands out of order are put
together (isotonic regression), offsets between bands lie on lines, and nowhere is what is told level: so calibration
changes no ranking. Offsets of bands that tell little are drawn towards 0, and without frauds the prediction is told as
it is. Every example is in some band: what the bands above say is not carried on to payments that they know nothing of.

Sources: Zadrozny, Elkan: *Transforming classifier scores into accurate multiclass probability estimates* (KDD 2002);
Barlow et al.: *Statistical inference under order restrictions* (1972) for pooling adjacent violators.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.errors import ConfigurationError
from detector.jit import constants, kernel

# Cells of log-odds: a quarter each, from a probability of one in nine million to all but that.
LOWEST, STEP, CELLS = -16.0, 0.25, 128
POINTS = CELLS + 1
EXAMPLES, FRAUDS, PREDICTED, LOSS = constants(4)
PLANES = 4
# Of a band of cells: the two at its ends, what is added to its log-odds, and where exactly that is so.
HIGHEST_CELL, LOWEST_CELL, OFFSET, PLACE = constants(4)
BAND_WORDS = 4
# The window moves on by a part at a time.
PARTS = 16
# Examples after which the offsets that evidence is told by are fitted anew.
RENEWED_EVERY = 1024
# Where the window stands: examples in the part that is filled, and which it is.
FILLED, PART = constants(2)
# Of offsets, before anything is seen: log-odds squared.
_PRIOR_VARIANCE = 4.0
_NEWTON_STEPS, _NEWTON_PRECISION = 50, 1e-9
# What is told grows at least so much for each log-odds.
_SMALLEST_SLOPE = 0.05
_LARGEST_OFFSET = 20.0
_SMALLEST_PROBABILITY = 1e-9


@kernel
def calibrated(log_odds: float, offsets: NDArray[np.float64]) -> float:
    """Log-odds with the offset of its place added: `offsets` holds one at each end of a cell."""
    position = (log_odds - LOWEST) / STEP
    if position <= 0.0:
        return log_odds + offsets[0]
    if position >= CELLS:
        return log_odds + offsets[CELLS]
    cell = int(position)
    return log_odds + offsets[cell] + (position - cell) * (offsets[cell + 1] - offsets[cell])


@kernel
def _settle_band(counts: NDArray[np.float64], band: NDArray[np.float64]) -> None:
    """Fill in a band's offset and place from its cells.

    The offset is the likeliest one, given beforehand that offsets have a mean of 0 and a variance of `_PRIOR_VARIANCE`:
    a band in which all are frauds, as was predicted, says nothing of how sure one may be, and moves nothing. The place
    is where an example tells most of the offset.
    """
    offset = 0.0
    for _ in range(_NEWTON_STEPS):
        excess, information, place = -offset / _PRIOR_VARIANCE, 0.0, 0.0
        for cell in range(int(band[LOWEST_CELL]), int(band[HIGHEST_CELL]) + 1):
            examples = counts[EXAMPLES, cell]
            if examples <= 0.0:
                continue
            share = min(max(counts[PREDICTED, cell] / examples, _SMALLEST_PROBABILITY), 1.0 - _SMALLEST_PROBABILITY)
            log_odds = math.log(share / (1.0 - share))
            expected = 1.0 / (1.0 + math.exp(-log_odds - offset))
            weight = examples * max(expected * (1.0 - expected), _SMALLEST_PROBABILITY)
            excess += counts[FRAUDS, cell] - examples * expected
            information += weight
            place += weight * log_odds
        step = min(max(excess / (information + 1.0 / _PRIOR_VARIANCE), -1.0), 1.0)
        offset += step
        if abs(step) < _NEWTON_PRECISION:
            break
    band[OFFSET] = offset
    band[PLACE] = place / information


@kernel
def _is_out_of_order(bands: NDArray[np.float64], upper: int) -> bool:
    """Whether a band is told hardly more than the one below it, or less."""
    step = bands[upper, PLACE] - bands[upper + 1, PLACE]
    return step + bands[upper, OFFSET] - bands[upper + 1, OFFSET] < _SMALLEST_SLOPE * step


@kernel
def _bands(counts: NDArray[np.float64], least_frauds: float, bands: NDArray[np.float64]) -> int:
    """Put cells together from the top down, and bands out of order into one; says how many bands there are.

    Without as many frauds as a band needs there is none; otherwise every example is in one.
    """
    found, highest = 0, CELLS - 1
    examples = evidence = 0.0
    for index in range(CELLS):
        cell = CELLS - 1 - index
        examples += counts[EXAMPLES, cell]
        evidence += counts[FRAUDS, cell] + counts[PREDICTED, cell]
        # Half seen, half predicted: stopping where frauds happen to be many would see too many of them.
        is_full = evidence >= 2.0 * least_frauds
        if is_full or (cell == 0 and found > 0 and examples > 0.0):
            bands[found, HIGHEST_CELL], bands[found, LOWEST_CELL] = highest, cell
            _settle_band(counts, bands[found])
            while found > 0 and _is_out_of_order(bands, found - 1):
                found -= 1
                bands[found, LOWEST_CELL] = cell
                _settle_band(counts, bands[found])
            found, highest = found + 1, cell - 1
            examples = evidence = 0.0
    return found


@kernel
def fit_offsets(
    window: NDArray[np.float64],
    least_frauds: float,
    counts: NDArray[np.float64],
    bands: NDArray[np.float64],
    offsets: NDArray[np.float64],
) -> None:
    """Fill `offsets` from the window; `counts` and `bands` are room for its sum and for the bands, from the top."""
    counts[:] = 0.0
    for part in range(PARTS):
        counts += window[part]
    found = _bands(counts, least_frauds, bands)
    offsets[:] = 0.0
    upper = found - 1
    for point in range(POINTS if found > 0 else 0):
        log_odds = LOWEST + STEP * point
        while upper > 0 and log_odds > bands[upper, PLACE]:
            upper -= 1
        # Now `upper` is the lowest band not below the point, or the highest of all.
        offset = bands[upper, OFFSET]
        if upper < found - 1 and log_odds < bands[upper, PLACE]:
            share = (log_odds - bands[upper + 1, PLACE]) / (bands[upper, PLACE] - bands[upper + 1, PLACE])
            offset = bands[upper + 1, OFFSET] + share * (offset - bands[upper + 1, OFFSET])
        offsets[point] = min(max(offset, -_LARGEST_OFFSET), _LARGEST_OFFSET)


@kernel
def take_rows(
    log_odds: NDArray[np.float64],
    labels: NDArray[np.int64],
    example_weights: NDArray[np.float64],
    rules: NDArray[np.float64],
    window: NDArray[np.float64],
    place: NDArray[np.int64],
    told: NDArray[np.float64],
    counts: NDArray[np.float64],
    bands: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Say what would have been told of examples, then take them into the window.

    `rules` holds examples a part and frauds a band; `window` is float64[PARTS, PLANES, CELLS], `place` int64[2]. `told`
    holds the offsets that were in use, renewed every so many examples.
    """
    for row in range(log_odds.shape[0]):
        if place[FILLED] >= rules[0]:
            place[FILLED] = 0
            place[PART] = (place[PART] + 1) % PARTS
            window[place[PART]] = 0.0
        if place[FILLED] % RENEWED_EVERY == 0:
            fit_offsets(window, rules[1], counts, bands, told)
        place[FILLED] += 1
        out[row] = calibrated(log_odds[row], told)
        cell = int(min(max((log_odds[row] - LOWEST) / STEP, 0.0), CELLS - 1.0))
        own = window[place[PART]]
        own[EXAMPLES, cell] += example_weights[row]
        own[FRAUDS, cell] += example_weights[row] * labels[row]
        own[PREDICTED, cell] += example_weights[row] / (1.0 + math.exp(-log_odds[row]))
        margin = out[row] if labels[row] != 0 else -out[row]
        loss = math.log1p(math.exp(-margin)) if margin > 0.0 else math.log1p(math.exp(margin)) - margin
        own[LOSS, cell] += example_weights[row] * loss


class Calibrator:
    """A sliding window of labelled examples, and the offsets that it asks for.

    Attributes:
        part_rows: examples in each of the sixteen parts of the window.
        least_frauds: frauds in a band.
        window: float64[16, 4, 128]: of each part and cell of log-odds examples, frauds, predicted frauds and log loss.
        place: int64[2], where the window stands.
        told: float64[129], the offsets that evidence is told by.
    """

    def __init__(self, window_rows: int, least_frauds: int) -> None:
        """Start with an empty window.

        Raises:
            ConfigurationError: the window has less than one example a part.
        """
        if window_rows < PARTS or least_frauds < 1:
            message = f"calibration: the window must have at least {PARTS} examples, a band at least one fraud"
            raise ConfigurationError(message)
        self.part_rows = window_rows // PARTS
        self.least_frauds = least_frauds
        self.window = np.zeros((PARTS, PLANES, CELLS))
        self.place = np.zeros(2, dtype=np.int64)
        self.told = identity_offsets()

    def take(
        self, log_odds: NDArray[np.float64], labels: NDArray[np.int64], example_weights: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Take labelled examples in order.

        Args:
            log_odds: what the model gave each of them before it was learned.
            labels: 1 fraud, 0 genuine.
            example_weights: what each counts for.

        Returns:
            float64 (n,), the calibrated log-odds that would have been told of each before it was taken.
        """
        out = np.empty(len(log_odds))
        take_rows(
            log_odds, labels, example_weights, np.array([self.part_rows, self.least_frauds], dtype=np.float64),
            self.window, self.place, self.told, np.empty((PLANES, CELLS)), np.empty((CELLS, BAND_WORDS)), out,
        )  # fmt: skip
        return out

    def offsets(self) -> NDArray[np.float64]:
        """What to add to log-odds: float64[129], at -16, -15.75, ... 16; all 0 while too few frauds are known."""
        offsets = np.empty(POINTS)
        fit_offsets(
            self.window, float(self.least_frauds), np.empty((PLANES, CELLS)), np.empty((CELLS, BAND_WORDS)), offsets
        )
        return offsets

    def evidence(self) -> Evidence:
        """How good the model was on the window, each example as it was just before it was learned."""
        counts = self.window.sum(axis=0)
        examples, frauds = counts[EXAMPLES].sum(), counts[FRAUDS].sum()
        if not examples:
            return Evidence(0.0, 0.0, 0.0, 0.0)
        found, looked_at = np.cumsum(counts[FRAUDS][::-1]), np.cumsum(counts[EXAMPLES][::-1])
        precision = found / np.maximum(looked_at, 1e-300)
        average = float((precision * counts[FRAUDS][::-1]).sum() / frauds) if frauds else 0.0
        return Evidence(float(examples), float(frauds), float(counts[LOSS].sum() / examples), average)


class Evidence(NamedTuple):
    """How good a model was on examples that it had not learned yet.

    Attributes:
        examples, frauds: how many, by their weights.
        log_loss: mean of -ln of the probability told of what was true.
        average_precision: by cells of a quarter of log-odds, all of a cell as if in one place.
    """

    examples: float
    frauds: float
    log_loss: float
    average_precision: float


def identity_offsets() -> NDArray[np.float64]:
    """Offsets that change nothing."""
    return np.zeros(POINTS)
