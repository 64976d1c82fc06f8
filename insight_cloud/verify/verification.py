"""What a verification found, as data: checks in suites, and the one word for all of it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeAlias

import msgspec

__all__ = ["Check", "Status", "Suite", "Verification", "worst"]

Status: TypeAlias = Literal["pass", "fail", "error", "not run"]
_WORST_FIRST: Final[tuple[Status, ...]] = ("fail", "error", "pass", "not run")


class Check(msgspec.Struct, frozen=True):
    """One question. `fail`: the answer is wrong; `error`: none came; `not run`: see the detail."""

    name: str
    status: Status
    detail: str = ""
    seconds: float = 0.0
    evidence: tuple[str, ...] = ()
    picture: str | None = None
    """The name of a picture, which the HTML report shows."""


class Suite(msgspec.Struct, frozen=True):
    """The checks of one suite, in the order in which they were made."""

    name: str
    status: Status
    checks: tuple[Check, ...]
    seconds: float


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """A whole verification, as JSON has it. `success_rate` is of the checks that had an answer.

    `commit` is that of the source that was looked at, empty where none was.
    """

    schema: str = "insight-verify/1"
    target: str
    commit: str
    started: datetime
    finished: datetime
    seconds: float
    short: bool
    status: Status
    success_rate: float | None
    counts: dict[str, int]
    suites: tuple[Suite, ...]

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found

    @classmethod
    def of(
        cls,
        suites: Iterable[Suite],
        *,
        target: str,
        started: datetime,
        seconds: float,
        short: bool,
        commit: str = "",
    ) -> Verification:
        """Count `suites`."""
        kept = tuple(suites)
        statuses = [check.status for suite in kept for check in suite.checks]
        counts: dict[str, int] = {each: statuses.count(each) for each in _WORST_FIRST}
        asked = counts["pass"] + counts["fail"] + counts["error"]
        return cls(
            target=target,
            commit=commit,
            started=started,
            finished=started + timedelta(seconds=seconds),
            seconds=round(seconds, 1),
            short=short,
            status=worst(statuses),
            success_rate=round(counts["pass"] / asked, 4) if asked else None,
            counts=counts,
            suites=kept,
        )


def worst(statuses: Iterable[Status]) -> Status:
    """The word for all of them; `not run` only when nothing was asked at all."""
    found = set(statuses)
    return next((status for status in _WORST_FIRST if status in found), "not run")
