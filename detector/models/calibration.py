"""Calibration: makes the probability that is told the share of frauds that is found, on a sliding window of labels.

Every labelled example says, just before it is learned, what log-odds the model gives it. The window counts examples,
frauds and predicted frauds by that log-odds. From the top down, neighbouring cells are put together until they hold
enough frauds; each such band has a log-odds as predicted and one as observed. Bands out of order are pooled (isotonic
regression), the rest lies on lines between them, and nowhere is the line level: so calibration changes no ranking.
Bands with few examples are drawn towards the prediction, and without labels the prediction is told as it is.

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
BAND_WORDS = 4
# The window moves on by a part at a time.
PARTS = 16
# Examples after which the offsets that evidence is told by are fitted anew.
RENEWED_EVERY = 1024
# Where the window stands: examples in the part that is filled, and which it is.
FILLED, PART = constants(2)
# Examples that a band has beside its own, with frauds as predicted.
_PRIOR_EXAMPLES = 4.0
_SMALLEST_SLOPE, _LARGEST_SLOPE = 0.05, 3.0
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
def _log_odds_of(share: float) -> float:
    """Log-odds of a share, kept away from none and all."""
    inside = min(max(share, _SMALLEST_PROBABILITY), 1.0 - _SMALLEST_PROBABILITY)
    return math.log(inside / (1.0 - inside))


@kernel
def _close_band(examples: float, frauds: float, predicted: float, band: NDArray[np.float64]) -> None:
    """Fill a band: predicted and observed log-odds, examples, and how much it tells of log-odds."""
    share = predicted / examples
    observed = (frauds + _PRIOR_EXAMPLES * share) / (examples + _PRIOR_EXAMPLES)
    band[0], band[1], band[2] = _log_odds_of(share), _log_odds_of(observed), examples
    band[3] = examples * observed * (1.0 - observed)


@kernel
def _bands(counts: NDArray[np.float64], least_frauds: float, bands: NDArray[np.float64]) -> int:
    """Put cells together from the top down; says how many bands there are."""
    found = 0
    examples = frauds = predicted = 0.0
    for index in range(CELLS):
        cell = CELLS - 1 - index
        examples += counts[EXAMPLES, cell]
        frauds += counts[FRAUDS, cell]
        predicted += counts[PREDICTED, cell]
        # Half seen, half predicted: stopping where frauds happen to be many would see too many of them.
        if frauds + predicted >= 2.0 * least_frauds:
            _close_band(examples, frauds, predicted, bands[found])
            found += 1
            examples = frauds = predicted = 0.0
    if found > 0 and frauds + predicted >= least_frauds:
        _close_band(examples, frauds, predicted, bands[found])
        found += 1
    return found


@kernel
def _slope(bands: NDArray[np.float64], count: int) -> float:
    """How fast observed log-odds grow with predicted ones, over all bands: for what lies above the highest."""
    total = predicted = observed = 0.0
    for band in range(count):
        total += bands[band, 3]
        predicted += bands[band, 3] * bands[band, 0]
        observed += bands[band, 3] * bands[band, 1]
    above = below = 0.0
    for band in range(count):
        apart = bands[band, 0] - predicted / total
        above += bands[band, 3] * apart * (bands[band, 1] - observed / total)
        below += bands[band, 3] * apart * apart
    return min(max(above / below, _SMALLEST_SLOPE), _LARGEST_SLOPE) if count > 1 and below > 0.0 else 1.0


@kernel
def _lowest_slope(bands: NDArray[np.float64], count: int, slope: float) -> float:
    """How fast they grow below the lowest band: as between the two lowest, if that is slower than over all.

    Some frauds look like anything else, so a score sinks below the share of those without meaning it.
    """
    if count == 1:
        return slope
    step = (bands[count - 2, 1] - bands[count - 1, 1]) / (bands[count - 2, 0] - bands[count - 1, 0])
    return min(slope, max(step, _SMALLEST_SLOPE))


@kernel
def _pool(bands: NDArray[np.float64], count: int) -> None:
    """Make the observed log-odds of bands fall, band by band from the top, pooling those out of order."""
    for band in range(1, count):
        first = band
        while first > 0 and bands[first, 1] > bands[first - 1, 1]:
            first -= 1
            total = examples = 0.0
            for member in range(first, band + 1):
                total += bands[member, 1] * bands[member, 2]
                examples += bands[member, 2]
            for member in range(first, band + 1):
                bands[member, 1] = total / examples
    for band in range(count - 1, 0, -1):
        step = _SMALLEST_SLOPE * (bands[band - 1, 0] - bands[band, 0])
        bands[band - 1, 1] = max(bands[band - 1, 1], bands[band, 1] + step)


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
    if found == 0:
        return
    slope = _slope(bands, found)
    _pool(bands, found)
    lowest_slope = _lowest_slope(bands, found, slope)
    above = found - 1
    for point in range(POINTS):
        log_odds = LOWEST + STEP * point
        while above > 0 and log_odds > bands[above, 0]:
            above -= 1
        # Now `above` is the lowest band not below the point, or the highest of all.
        if log_odds > bands[above, 0]:
            offset = bands[above, 1] + slope * (log_odds - bands[above, 0]) - log_odds
        elif above == found - 1:
            offset = bands[above, 1] + lowest_slope * (log_odds - bands[above, 0]) - log_odds
        else:
            share = (log_odds - bands[above + 1, 0]) / (bands[above, 0] - bands[above + 1, 0])
            observed = bands[above + 1, 1] + share * (bands[above, 1] - bands[above + 1, 1])
            offset = observed - log_odds
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
