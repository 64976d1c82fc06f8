"""Charts as pure functions: numbers in, SVG out. No script, no inline style, sizes by viewBox."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import date

from markupsafe import Markup

from insight_cloud.app.dashboard.views import Chart, Counts, Day, Week
from insight_cloud.app.sarif.model import SEVERITIES

__all__ = ["bar", "scale", "share", "sparkline", "trend", "weekly"]

_WIDTH, _HEIGHT = 1000, 260
_SPARK_WIDTH, _SPARK_HEIGHT = 120, 30
_X_LABELS = 5


def scale(largest: int, *, steps: int = 4) -> tuple[int, ...]:
    """Round values from 0 to at least `largest`, evenly apart, at most `steps` steps.

    The distance is 1, 2 or 5 times a power of ten, as people read axes.
    """
    wanted = max(1, math.ceil(largest / steps))
    power = 10 ** math.floor(math.log10(wanted))
    step = next(size * power for size in (1, 2, 5, 10) if size * power >= wanted)
    return tuple(step * index for index in range(max(1, math.ceil(largest / step)) + 1))


def bar(counts: Counts) -> Markup:
    """One bar, a part for each severity. Small parts are drawn at least one percent wide.

    It repeats what stands beside it in words, so that it is hidden from screen readers.
    """
    present = [(severity, count) for severity, count in counts if count]
    widths = [max(1.0, 100 * count / counts.total) for _, count in present]
    stretch = 100 / sum(widths) if widths else 1.0
    parts, left = [], 0.0
    for (severity, _), width in zip(present, widths, strict=True):
        size = width * stretch
        parts.append(
            f'<rect class="fill-{severity}" x="{left:.2f}" width="{size:.2f}" height="8"/>'
        )
        left += size
    return _hidden("bar", "0 0 100 8", '<rect class="track" width="100" height="8"/>', *parts)


def share(count: int, largest: int) -> Markup:
    """A thin bar as long as `count` is beside `largest`; hidden from screen readers."""
    width = 100 * count / largest if largest else 0.0
    return _hidden(
        "share",
        "0 0 100 4",
        '<rect class="track" width="100" height="4"/>',
        f'<rect class="fill-accent" width="{width:.2f}" height="4"/>',
    )


def sparkline(values: Sequence[int | None], *, key: str, label: str) -> Markup:
    """A line of the last values; None stands for a day on which nothing was known yet.

    `label` says what it shows; the first and the last known value are added in words.
    """
    known = [(index, value) for index, value in enumerate(values) if value is not None]
    if not known:
        return Markup("")
    low, high = min(value for _, value in known), max(value for _, value in known)
    span = max(high - low, 1)
    points = [
        (
            4 + index * (_SPARK_WIDTH - 8) / max(len(values) - 1, 1),
            _SPARK_HEIGHT - 5 - (value - low) * (_SPARK_HEIGHT - 10) / span,
        )
        for index, value in known
    ]
    line = _points(points)
    last = points[-1]
    floor = _points([(last[0], _SPARK_HEIGHT), (points[0][0], _SPARK_HEIGHT)])
    words = f"{label}: from {known[0][1]:,} to {known[-1][1]:,}"
    return _svg(
        "spark",
        f"0 0 {_SPARK_WIDTH} {_SPARK_HEIGHT}",
        key=key,
        title=words,
        parts=(
            f'<polygon class="under" points="{line} {floor}"/>',
            f'<polyline class="line" points="{line}"/>',
            f'<circle class="end" cx="{last[0]:.1f}" cy="{last[1]:.1f}" r="2.5"/>',
        ),
        stretched=False,
    )


def trend(days: Sequence[Day], *, key: str) -> Chart:
    """Open issues by day as stacked areas, the worst severity at the bottom."""
    ticks = scale(max((one.open.total for one in days), default=0))
    lower = [0] * len(days)
    areas = []
    for severity in SEVERITIES:
        upper = [
            below + getattr(one.open, severity) for below, one in zip(lower, days, strict=True)
        ]
        if upper != lower:
            areas.append(_area(severity, lower, upper, ticks[-1]))
        lower = upper
    first, last = days[0], days[-1]
    svg = _svg(
        "trend",
        f"0 0 {_WIDTH} {_HEIGHT}",
        key=key,
        title=f"Open issues by day, {_long(first.day)} to {_long(last.day)}",
        description=(
            f"{first.open.total:,} open issues at the beginning, {last.open.total:,} at the end, "
            f"{max(one.open.total for one in days):,} at most. The table below has every week."
        ),
        parts=(*_grid(ticks), *areas),
    )
    return Chart(
        svg=svg,
        y_labels=tuple(f"{tick:,}" for tick in reversed(ticks)),
        x_labels=_dates([one.day for one in days]),
        head=("Day", *(severity.capitalize() for severity in SEVERITIES), "All"),
        rows=tuple(
            (_long(one.day), *(f"{count:,}" for _, count in one.open), f"{one.open.total:,}")
            for one in _every_week(days)
        ),
    )


def weekly(weeks: Sequence[Week], *, key: str) -> Chart:
    """New issues above the line, fixed ones below it, a pair of bars for each week."""
    largest = max((max(one.new, one.fixed) for one in weeks), default=0)
    ticks = scale(largest, steps=2)
    top, height = ticks[-1], 160
    slot = _WIDTH / max(len(weeks), 1)
    bars = []
    for index, one in enumerate(weeks):
        left, width = index * slot + slot * 0.18, slot * 0.64
        for name, count in (("new", one.new), ("fixed", one.fixed)):
            size = height / 2 * count / top
            above = height / 2 - size if name == "new" else height / 2
            bars.append(
                f'<rect class="{name}" x="{left:.1f}" y="{above:.1f}" '
                f'width="{width:.1f}" height="{size:.1f}"/>'
            )
    new, fixed = sum(one.new for one in weeks), sum(one.fixed for one in weeks)
    axis = f'<line class="axis" x1="0" x2="{_WIDTH}" y1="{height // 2}" y2="{height // 2}"/>'
    svg = _svg(
        "weekly",
        f"0 0 {_WIDTH} {height}",
        key=key,
        title=f"New and fixed issues by week, {len(weeks)} weeks",
        description=f"{new:,} issues became new and {fixed:,} were fixed.",
        parts=(*bars, axis),
    )
    return Chart(
        svg=svg,
        y_labels=(f"+{top:,}", "0", f"−{top:,}"),  # noqa: RUF001 - a real minus sign
        x_labels=_dates([one.start for one in weeks]),
        head=("Week from", "New", "Fixed"),
        rows=tuple((_long(one.start), f"{one.new:,}", f"{one.fixed:,}") for one in weeks),
    )


# -- parts -----------------------------------------------------------------------------------


def _area(severity: str, lower: Sequence[int], upper: Sequence[int], top: int) -> str:
    if len(upper) == 1:  # one day is a band over the whole width, not a line without width
        lower, upper = [*lower, *lower], [*upper, *upper]
    step = _WIDTH / (len(upper) - 1)

    def at(index: int, value: int) -> tuple[float, float]:
        return index * step, _HEIGHT - _HEIGHT * value / top

    above = [at(index, value) for index, value in enumerate(upper)]
    below = [at(index, value) for index, value in reversed(list(enumerate(lower)))]
    return (
        f'<polygon class="area-{severity}" points="{_points(above + below)}"/>'
        f'<polyline class="edge-{severity}" points="{_points(above)}"/>'
    )


def _grid(ticks: Sequence[int]) -> list[str]:
    heights = [_HEIGHT - _HEIGHT * tick / ticks[-1] for tick in ticks]
    return [
        f'<line class="grid" x1="0" x2="{_WIDTH}" y1="{height:.1f}" y2="{height:.1f}"/>'
        for height in heights
    ]


def _points(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _every_week(days: Sequence[Day]) -> list[Day]:
    """The last day and each one a whole number of weeks before it, oldest first."""
    return list(days[::-1][::7])[::-1]


def _dates(days: Sequence[date]) -> tuple[str, ...]:
    if len(days) <= _X_LABELS:
        return tuple(_short(day) for day in days)
    places = [round(index * (len(days) - 1) / (_X_LABELS - 1)) for index in range(_X_LABELS)]
    return tuple(_short(days[place]) for place in places)


def _short(day: date) -> str:
    return f"{day.day} {day:%b}"


def _long(day: date) -> str:
    return f"{day.day} {day:%b %Y}"


def _hidden(name: str, box: str, *parts: str) -> Markup:
    return Markup(  # noqa: S704 - made of our own numbers and names only
        f'<svg class="{name}" viewBox="{box}" preserveAspectRatio="none" aria-hidden="true" '
        f'focusable="false">{"".join(parts)}</svg>'
    )


def _svg(
    name: str,
    box: str,
    *,
    key: str,
    title: str,
    parts: Iterable[str],
    description: str = "",
    stretched: bool = True,
) -> Markup:
    """Wrap `parts`; `key` makes the ids of title and description unique on the page."""
    aspect = ' preserveAspectRatio="none"' if stretched else ""
    named = f"{key}-title {key}-desc" if description else f"{key}-title"
    desc = Markup('<desc id="{}-desc">{}</desc>').format(key, description) if description else ""
    head = Markup(
        '<svg class="{}" viewBox="{}"{} role="img" aria-labelledby="{}">'
        '<title id="{}-title">{}</title>{}'
    ).format(name, box, Markup(aspect), named, key, title, desc)  # noqa: S704 - a constant
    return head + Markup("".join(parts)) + Markup("</svg>")  # noqa: S704 - see _hidden
