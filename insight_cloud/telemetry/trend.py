"""Whether memory grows for good: a robust slope, pure.

Memory of a healthy process jumps and falls. Least squares would take one jump for growth; the
median of the slopes between all pairs (Theil-Sen) is not moved by up to 29 % of outliers. A
slope counts as steady only where three quarters of the pairs rise, which one jump between two
plateaus does not reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import quantiles

__all__ = ["Trend", "drifts", "trend"]

_MOST_POINTS = 90
"""More points than these are thinned: 4,005 pairs say as much as 16,110."""


@dataclass(frozen=True, slots=True)
class Trend:
    """How a series of measurements moves, per second; `low` is the lower quartile."""

    slope: float
    low: float
    growth: float
    seconds: float


def trend(points: Sequence[tuple[float, float]]) -> Trend | None:
    """The trend of `(seconds, value)` in order of time; None for fewer than three.

    `growth` is the slope times the time: what was gained, without the jumps.
    """
    step = -(-len(points) // _MOST_POINTS) or 1
    chosen = points[::step]
    slopes = [
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for earlier, later in combinations(chosen, 2)
        if later[0] > earlier[0]
    ]
    if len(slopes) < 3:
        return None
    low, middle, _ = quantiles(slopes, n=4)
    seconds = points[-1][0] - points[0][0]
    return Trend(middle, low, middle * seconds, seconds)


def drifts(found: Trend | None, *, window_seconds: float, per_hour: float) -> bool:
    """Whether a value grew steadily, by at least `per_hour`, over (nearly) the whole window."""
    return (
        found is not None
        and found.seconds >= 0.9 * window_seconds
        and found.low > 0
        and found.slope * 3600 >= per_hour
    )
