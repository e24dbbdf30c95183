"""Charts as SVG: lines and bars that need no script, no font and no other file.

Every chart says what it shows to those who cannot see it (title and description), and no series is told apart by its
colour alone: lines have dashes and marks of their own, bars have patterns of edges and their value beside them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

# On white all have a contrast of 4.5 or more, and differ for the colour-blind.
_COLOURS = ("#0b5cad", "#b34700", "#00695c", "#7b1fa2", "#5d4037")
_DASHES = ("", "7 4", "2 3", "10 3 2 3", "1 4")
_WIDTH, _HEIGHT = 720, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 92, 16, 62, 52
_TICKS = 5
_INK, _GRID = "#222222", "#d9d9d9"


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis.

    Attributes:
        label: what is along it, with its unit.
        write: how a value is written at a tick.
        low, high: bounds; where not given, those of the data, 0 included.
    """

    label: str
    write: Callable[[float], str] = "{:,.6g}".format
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one line, in the order of their x, under the name that the legend shows."""

    name: str
    points: Sequence[tuple[float, float]]


def ticks(low: float, high: float, count: int = _TICKS) -> list[float]:
    """About `count` round numbers from `low` to `high`: multiples of 1, 2 or 5 times a power of ten."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low]
    step = 10.0 ** math.floor(math.log10(span / count))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= count)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def line_chart(title: str, description: str, x: Axis, y: Axis, series: Sequence[Series]) -> str:
    """Lines over a common x axis, as one `<svg>` element.

    Args:
        title: heading, also the chart's accessible name.
        description: what is to be seen, for those who cannot see it.
        x: the axis along.
        y: the axis up.
        series: at most five; points that are not finite are left out.
    """
    lines = [_finite(each) for each in series]
    x_low, x_high = _bounds(x, [point[0] for line in lines for point in line.points], from_zero=False)
    y_low, y_high = _bounds(y, [point[1] for line in lines for point in line.points], from_zero=True)
    place = _Place(x_low, x_high, y_low, y_high)
    parts = [_axes(place, x, y), _legend([line.name for line in lines])]
    for number, line in enumerate(lines):
        parts.append(_line(number, [(place.x(a), place.y(b)) for a, b in line.points]))
    return _svg(title, description, parts)


def bar_chart(
    title: str, description: str, categories: Sequence[str], y: Axis, series: Sequence[tuple[str, Sequence[float]]]
) -> str:
    """Groups of bars, one group a category and one bar a series, as one `<svg>` element.

    Args:
        title: heading, also the chart's accessible name.
        description: what is to be seen, for those who cannot see it.
        categories: names along the x axis.
        y: the axis of values.
        series: (name, a value a category), at most five.
    """
    low, high = _bounds(y, [value for _, values in series for value in values], from_zero=True)
    place = _Place(0.0, float(max(len(categories), 1)), low, high)
    parts = [_value_axis(place, y), _legend([name for name, _ in series])]
    width = 0.8 / max(len(series), 1)
    for group, category in enumerate(categories):
        middle = place.x(group + 0.5)
        parts.append(_text(middle, _HEIGHT - _BOTTOM + 18, category, "middle"))
        for number, (_, values) in enumerate(series):
            left, right = place.x(group + 0.1 + number * width), place.x(group + 0.1 + (number + 1) * width)
            parts.append(_bar(number, left, right - 2, place, values[group], y))
    return _svg(title, description, parts)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where values lie on the paper."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        """Distance from the left edge."""
        share = (value - self.x_low) / (self.x_high - self.x_low)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        """Distance from the upper edge."""
        share = (value - self.y_low) / (self.y_high - self.y_low)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def _finite(series: Series) -> Series:
    """The points that can be drawn."""
    return Series(series.name, [point for point in series.points if all(map(math.isfinite, point))])


def _bounds(axis: Axis, values: Sequence[float], *, from_zero: bool) -> tuple[float, float]:
    """From where to where an axis goes; never an empty span."""
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low = axis.low if axis.low is not None else min([*finite, 0.0] if from_zero else finite)
    high = axis.high if axis.high is not None else max([*finite, 0.0] if from_zero else finite)
    return (low, high) if high > low else (low, low + 1.0)


def _svg(title: str, description: str, parts: Sequence[str]) -> str:
    """The element around the parts."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'role="img" aria-label="{escape(title)}. {escape(description)}" font-family="sans-serif" font-size="12" '
        f'fill="{_INK}">'
    )
    said = f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"
    paper = f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>'
    heading = f'<text x="{_LEFT}" y="22" font-size="15" font-weight="bold">{escape(title)}</text>'
    return "\n".join([head, said, paper, heading, *parts, "</svg>"])


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    """A text at a place."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(text)}</text>'


def _value_axis(place: _Place, y: Axis) -> str:
    """Lines across with their values, and the label beside them."""
    parts = []
    for value in ticks(place.y_low, place.y_high):
        height = place.y(value)
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{height:.1f}" y2="{height:.1f}" stroke="{_GRID}"/>'
        )
        parts.append(_text(_LEFT - 8, height + 4, y.write(value), "end"))
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(_text(16, middle, y.label, "middle", f' transform="rotate(-90 16 {middle:.1f})"'))
    return "\n".join(parts)


def _axes(place: _Place, x: Axis, y: Axis) -> str:
    """Both axes of a chart of lines."""
    parts = [_value_axis(place, y)]
    parts += [
        _text(place.x(value), _HEIGHT - _BOTTOM + 18, x.write(value), "middle")
        for value in ticks(place.x_low, place.x_high, _TICKS + 2)
    ]
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 12, x.label, "middle"))
    return "\n".join(parts)


def _legend(names: Sequence[str]) -> str:
    """A mark and a name a series, side by side under the heading."""
    parts, left = [], float(_LEFT)
    for number, name in enumerate(names):
        parts.append(_line(number, [(left, 40.0), (left + 28.0, 40.0)]))
        parts.append(_text(left + 36, 44, name, "start"))
        left += 60 + 7.0 * len(name)
    return "\n".join(parts)


def _line(number: int, points: Sequence[tuple[float, float]]) -> str:
    """A line in the series' colour and dashes, with a mark at its end."""
    if not points:
        return ""
    colour, dashes = _COLOURS[number % len(_COLOURS)], _DASHES[number % len(_DASHES)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    last_x, last_y = points[-1]
    mark = (
        f'<circle cx="{last_x:.1f}" cy="{last_y:.1f}" r="3.5" fill="{colour}"/>'
        if number % 2 == 0
        else f'<rect x="{last_x - 3:.1f}" y="{last_y - 3:.1f}" width="6" height="6" fill="{colour}"/>'
    )
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashed}/>{mark}'


def _bar(number: int, left: float, right: float, place: _Place, value: float, y: Axis) -> str:
    """A bar from zero to its value, which stands above it; the second series' has a dashed edge and a pale body."""
    if not math.isfinite(value):
        return ""
    colour, dashes = _COLOURS[number % len(_COLOURS)], _DASHES[number % len(_DASHES)]
    top, bottom = sorted((place.y(value), place.y(max(place.y_low, 0.0))))
    opacity = 0.85 if number % 2 == 0 else 0.3
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{max(right - left, 1):.1f}" height="{bottom - top:.1f}" '
        f'fill="{colour}" fill-opacity="{opacity}" stroke="{colour}"{dashed}/>'
        + _text((left + right) / 2, top - 4, y.write(value), "middle", ' font-size="10"')
    )
