"""Charts: pure, honest about proportions, readable without seeing them."""

from __future__ import annotations

import re
from datetime import date, timedelta
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.app.dashboard import charts
from insight_cloud.app.dashboard.views import Counts, Day, Week
from insight_cloud.app.sarif.model import SEVERITIES

TODAY = date(2026, 11, 22)
numbers = st.integers(0, 100_000)
counts = st.builds(Counts, numbers, numbers, numbers, numbers, numbers)


def days(*found: Counts) -> list[Day]:
    return [Day(TODAY + timedelta(days=index), one) for index, one in enumerate(found)]


def points(figure: ET.Element) -> list[tuple[float, float]]:
    pairs = (pair.split(",") for pair in figure.attrib["points"].split())
    return [(float(x), float(y)) for x, y in pairs]


@given(st.integers(0, 10**9), st.integers(1, 10))
def test_a_scale_is_round_even_and_just_large_enough(largest: int, steps: int) -> None:
    ticks = charts.scale(largest, steps=steps)
    step = ticks[1]
    assert ticks[0] == 0
    assert ticks[-1] >= largest
    assert ticks[-1] - step < max(largest, 1)
    assert len(ticks) <= steps + 1
    assert {after - before for before, after in pairwise(ticks)} == {step}
    assert re.fullmatch("[125]0*", str(step))


@given(counts)
def test_a_bar_is_full_and_shows_whatever_occurs(found: Counts) -> None:
    bar = ET.fromstring(str(charts.bar(found)))
    widths = {part.attrib["class"]: float(part.attrib["width"]) for part in bar[1:]}
    assert set(widths) == {f"fill-{name}" for name, count in found if count}
    if widths:
        assert sum(widths.values()) == pytest.approx(100, abs=0.1)
        assert min(widths.values()) > 0.9
    assert bar.attrib["aria-hidden"] == "true"


@given(st.lists(st.one_of(st.none(), numbers), max_size=40))
def test_a_sparkline_stays_inside_its_box(values: list[int | None]) -> None:
    drawn = charts.sparkline(values, key="k", label="Open <issues>")
    known = [value for value in values if value is not None]
    assert bool(drawn) == bool(known)
    if known:
        svg = ET.fromstring(str(drawn))
        assert svg[0].text == f"Open <issues>: from {known[0]:,} to {known[-1]:,}"
        assert all(0 <= x <= 120 and 0 <= y <= 30 for x, y in points(svg[1]))


@given(st.lists(counts, min_size=1, max_size=12))
def test_a_trend_stacks_to_the_total_of_each_day(found: list[Counts]) -> None:
    chart = charts.trend(days(*found), key="k")
    top = int(chart.y_labels[0].replace(",", ""))
    edges = ET.fromstring(str(chart.svg)).findall("polyline")
    if edges:
        drawn = [260 - y for _, y in points(edges[-1])][: len(found)]
        assert drawn == pytest.approx([260 * one.total / top for one in found], abs=0.06)
    else:
        assert all(one.total == 0 for one in found)


def test_a_trend_is_readable_without_seeing_it() -> None:
    chart = charts.trend(days(*[Counts(1, 2, 3, 4, 5)] * 20), key="k")
    svg = ET.fromstring(str(chart.svg))
    assert svg.attrib["role"] == "img"
    named = svg.attrib["aria-labelledby"].split()
    assert [element.attrib["id"] for element in svg[:2]] == named
    assert svg[0].text == "Open issues by day, 22 Nov 2026 to 11 Dec 2026"
    assert chart.head == ("Day", *(name.capitalize() for name in SEVERITIES), "All")
    assert chart.rows[-1] == ("11 Dec 2026", "1", "2", "3", "4", "5", "15")
    assert [row[0] for row in chart.rows] == ["27 Nov 2026", "4 Dec 2026", "11 Dec 2026"]
    assert chart.x_labels[0] == "22 Nov"
    assert chart.x_labels[-1] == "11 Dec"


def test_new_issues_stand_above_the_line_and_fixed_ones_below() -> None:
    chart = charts.weekly([Week(TODAY, 40, 10), Week(TODAY + timedelta(7), 0, 20)], key="k")
    bars = ET.fromstring(str(chart.svg)).findall("rect")
    drawn = [(bar.attrib["class"], bar.attrib["y"], bar.attrib["height"]) for bar in bars]
    assert drawn == [
        ("new", "0.0", "80.0"),
        ("fixed", "80.0", "20.0"),
        ("new", "80.0", "0.0"),
        ("fixed", "80.0", "40.0"),
    ]
    assert chart.y_labels == ("+40", "0", "\N{MINUS SIGN}40")
    assert chart.rows == (("22 Nov 2026", "40", "10"), ("29 Nov 2026", "0", "20"))


def test_no_drawing_styles_itself() -> None:
    drawn = [
        charts.bar(Counts(1, 1)),
        charts.share(1, 3),
        charts.trend(days(Counts(1)), key="k").svg,
        charts.weekly([Week(TODAY, 1, 1)], key="k").svg,
        charts.sparkline([1, 2], key="k", label="x"),
    ]
    assert not [svg for svg in drawn if "style" in svg or "fill=" in svg]
