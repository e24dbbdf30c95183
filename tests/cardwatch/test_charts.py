"""Charts: well-formed SVG whose marks are where the values are."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardwatch.charts import Axis, Series, bar_chart, line_chart, ticks

SVG = "{http://www.w3.org/2000/svg}"


def read(chart: str) -> ET.Element:
    return ET.fromstring(chart)  # noqa: S314  it was made here


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e9))
def test_ticks_lie_within_and_are_few(low: float, span: float) -> None:
    """Round numbers between the bounds, no more than can be read."""
    found = ticks(low, low + span)
    assert len(found) <= 7
    assert all(low - span * 1e-6 <= value <= low + span * (1 + 1e-6) for value in found)


def test_lines_go_where_their_points_are() -> None:
    """Larger values stand higher, later ones further right; what is not finite is left out."""
    points = [(0.0, 0.0), (1.0, 10.0), (2.0, math.nan), (3.0, 5.0)]
    chart = read(line_chart("Title", "What it shows", Axis("x"), Axis("y"), [Series("one", points)]))
    drawn = chart.findall(f"{SVG}polyline")[-1].attrib["points"].split()
    places = [tuple(map(float, pair.split(","))) for pair in drawn]
    assert len(places) == 3
    assert places[0][0] < places[1][0] < places[2][0]
    assert places[1][1] < places[2][1] < places[0][1]


def test_a_chart_has_a_name_and_tells_lines_apart_without_colour() -> None:
    """The title and description are readable by machines; each line has dashes of its own."""
    series = [Series("a", [(0, 1), (1, 2)]), Series("b", [(0, 2), (1, 1)])]
    chart = read(line_chart("Fraud & loss", "a rises <b falls>", Axis("x"), Axis("y"), series))
    assert chart.attrib["role"] == "img"
    assert chart.attrib["aria-label"] == "Fraud & loss. a rises <b falls>"
    dashes = {line.attrib.get("stroke-dasharray", "") for line in chart.findall(f"{SVG}polyline")}
    assert len(dashes) == 2


def test_bars_are_as_high_as_their_values() -> None:
    """Twice the value is twice the height, and the value stands beside it."""
    chart = read(bar_chart("Title", "What", ["x", "y"], Axis("n", "{:.0f}".format), [("one", [10.0, 20.0])]))
    low, high = (float(bar.attrib["height"]) for bar in chart.findall(f"{SVG}rect") if "fill-opacity" in bar.attrib)
    assert high == pytest.approx(2 * low, abs=0.2)
    assert {"10", "20", "x", "y", "one"} <= {text.text for text in chart.iter(f"{SVG}text")}


def test_nothing_to_draw_is_drawn() -> None:
    """No points and no bars are an empty chart, not an error."""
    assert read(line_chart("T", "D", Axis("x"), Axis("y"), [Series("none", [])])) is not None
    assert read(bar_chart("T", "D", [], Axis("y"), [])) is not None
