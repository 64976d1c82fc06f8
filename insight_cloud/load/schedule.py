"""When users and requests are meant to begin: the stages of a scenario as times, without a clock.

A stage leads from the level before it to its own in a straight line; no time at all is a jump.
The level is a number of users, or of arrivals a second. All times are seconds since the start.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

__all__ = ["Piece", "StageLike", "arrivals", "lives", "most", "pieces", "spread", "total_seconds"]

_GOLDEN = (math.sqrt(5) - 1) / 2


class StageLike(Protocol):
    """What this file needs to know of a stage."""

    @property
    def seconds(self) -> float:
        """How long it takes."""

    @property
    def target(self) -> float:
        """The level at its end."""


class Piece(NamedTuple):
    """A straight line of the level, from `begin` to `end`."""

    begin: float
    end: float
    low: float
    high: float


def pieces(stages: Sequence[StageLike], start: float = 0) -> list[Piece]:
    """The lines that `stages` draw from the level `start`; jumps leave no line of their own."""
    made, at, level = [], 0.0, start
    for stage in stages:
        if stage.seconds > 0:
            made.append(Piece(at, at + stage.seconds, level, stage.target))
        at, level = at + stage.seconds, stage.target
    return made


def total_seconds(stages: Sequence[StageLike]) -> float:
    """How long all stages take."""
    return sum(stage.seconds for stage in stages)


def most(stages: Sequence[StageLike], start: float = 0) -> float:
    """The highest level that lasts or is touched."""
    return max((max(piece.low, piece.high) for piece in pieces(stages, start)), default=0.0)


def arrivals(lines: Sequence[Piece], first: int = 0, step: int = 1) -> Iterator[float]:
    """When arrival number `first`, `first + step`, ... is due, evenly spaced by the rate.

    Number n is due when n and a half would have arrived. So the arrivals of several workers,
    each with its own `first`, are together those of one.
    """
    wanted, before = first + 0.5, 0.0
    for line in lines:
        seconds = line.end - line.begin
        here = (line.low + line.high) / 2 * seconds
        while wanted < before + here:
            yield line.begin + _reached(line, wanted - before)
            wanted += step
        before += here


def _reached(line: Piece, count: float) -> float:
    """After how many seconds of `line` so many have arrived: the root of a parabola."""
    if count <= 0:  # it is due just where the line begins, which may rise from nothing
        return 0.0
    slope = (line.high - line.low) / (line.end - line.begin)
    if abs(slope) < 1e-12:
        return count / line.low
    root = math.sqrt(max(0.0, line.low**2 + 2 * slope * count))
    return 2 * count / (line.low + root)  # the form that loses no digits


def lives(lines: Sequence[Piece], user: int) -> list[tuple[float, float]]:
    """From when until when user number `user`, counted from 0, is there.

    It is while the level is above `user` and a half, so a ramp brings users in evenly.
    """
    found: list[tuple[float, float]] = []
    mark = user + 0.5
    for line in lines:
        begin, end = line.begin, line.end
        if line.low <= mark and line.high <= mark:
            continue
        if min(line.low, line.high) <= mark:
            crossed = begin + (mark - line.low) / (line.high - line.low) * (end - begin)
            begin, end = (crossed, end) if line.high > line.low else (begin, crossed)
        if found and math.isclose(found[-1][1], begin, abs_tol=1e-9):
            begin = found.pop()[0]
        found.append((begin, end))
    return found


def spread(user: int) -> float:
    """A share of 1 for each user, so that any number of them are evenly spread."""
    return (user * _GOLDEN) % 1
