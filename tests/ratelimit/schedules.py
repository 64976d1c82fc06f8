"""Schedules of hits, costs and clocks, and the count that decides whether a limit held."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

__all__ = ["Step", "schedules", "worst"]


@dataclass(frozen=True)
class Step:
    """`passed` real ticks go by, the clock is set back by `back`, then `cost` is asked for."""

    passed: int
    back: int
    cost: int


def schedules(limit: int, window: int) -> st.SearchStrategy[list[Step]]:
    """Bursts, edges of the window, long pauses, and clocks that are set back."""
    step = st.builds(
        Step,
        passed=st.one_of(
            st.just(0),
            st.integers(0, window // 2),
            st.sampled_from([window - 1, window, window + 1, 3 * window]),
        ),
        back=st.one_of(st.just(0), st.just(0), st.just(0), st.integers(0, 3 * window)),
        cost=st.integers(1, limit),
    )
    return st.lists(step, min_size=1, max_size=60)


def worst(admitted: list[tuple[int, int]], window: int) -> int:
    """The largest cost admitted in any window [t, t + window), of (real time, cost)."""
    return max(
        (
            sum(cost for time, cost in admitted if start <= time < start + window)
            for start, _ in admitted
        ),
        default=0,
    )
