"""Take a permit, give it back, say what is used.

A window slides: never more than the limit in any of them, over all processes, because whoever
takes a permit counts and adds under one lock of its subject.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, Protocol

from insight_cloud.app.accounts import service as accounts
from insight_cloud.app.accounts.models import Caller
from insight_cloud.app.api import Context
from insight_cloud.app.quotas import limits
from insight_cloud.app.quotas.limits import DAY, MONTH, Limits
from insight_cloud.app.quotas.models import Meter, Overview, ProjectUsage, Usage, UserUsage
from insight_cloud.core.errors import Conflict, RateLimited
from insight_cloud.database import Connection, sql
from insight_cloud.database.statements import Statements

__all__ = [
    "Exceeded",
    "Taken",
    "analysing",
    "clean",
    "overview",
    "refund",
    "require_room_for_project",
    "take",
    "uploading",
    "usage",
]

queries = sql.load(Path(__file__).with_name("queries.sql"))

Kind = Literal["analysis", "upload"]
_LISTED = 200
_BATCH = 5_000


class _Headers(Protocol):
    def append(self, key: str, value: str) -> None: ...


class _Response(Protocol):
    @property
    def headers(self) -> _Headers: ...


@dataclass(frozen=True, slots=True)
class _Window:
    """A limit over time: its name in headers, how many, and in how long."""

    name: str
    limit: int
    span: timedelta

    @property
    def policy(self) -> str:
        return f'"{self.name}";q={self.limit};w={int(self.span.total_seconds())}'

    def standing(self, remaining: int, seconds: int) -> str:
        return f'"{self.name}";r={remaining}' + (f";t={seconds}" if seconds else "")


@dataclass(frozen=True, slots=True)
class Taken:
    """A permit that was taken, and how its limits stand now."""

    id: int
    policies: tuple[str, ...]
    standings: tuple[str, ...]

    def tell(self, response: _Response) -> None:
        """Say so in the response, beside what the rate limits say (draft-ietf-httpapi-11)."""
        for policy, standing in zip(self.policies, self.standings, strict=True):
            response.headers.append("ratelimit-policy", policy)
            response.headers.append("ratelimit", standing)


class Exceeded(RateLimited):
    """A quota is used up; `headers` say which, as a response of the API carries them."""

    title = "Quota exceeded"

    def __init__(self, message: str, *, retry_after: float, policy: str, standing: str) -> None:
        super().__init__(message, retry_after=retry_after)
        self.headers = {"ratelimit-policy": policy, "ratelimit": standing}


def _limits(context: Context) -> Limits:
    return limits.of(context.settings.quotas, context.limits.policies["analysis"])


async def take(context: Context, caller: Caller) -> Taken:
    """Take one analysis on the server, of the caller's user.

    Raises:
        Exceeded: the limit is used up; nothing was taken.
    """
    wanted = _limits(context)
    window = _Window("analysis", wanted.analyses, wanted.analyses_window)
    return await _take(context, "analysis", subject(caller), [window], "analyses on the server")


@contextlib.asynccontextmanager
async def analysing(context: Context, caller: Caller) -> AsyncIterator[Taken]:
    """Take one analysis of the caller's user; one that is refused inside does not count.

    Raises:
        Exceeded: the limit is used up.
    """
    taken = await take(context, caller)
    try:
        yield taken
    except BaseException:
        await refund(context, taken)
        raise


def subject(caller: Caller) -> str:
    """Whose analyses are counted: a user's, whichever token is used."""
    if caller.public_id is not None:
        return f"user:{caller.public_id}"
    return caller.limit_key


@contextlib.asynccontextmanager
async def uploading(context: Context, project: str) -> AsyncIterator[Taken | None]:
    """Count an upload to the project with the slug `project`; one that fails does not count.

    Yields None where uploads are not limited.

    Raises:
        Exceeded: a limit is used up.
    """
    wanted = _limits(context)
    windows = [
        _Window(name, limit, span)
        for name, limit, span in (
            ("uploads-day", wanted.uploads_per_day, DAY),
            ("uploads-month", wanted.uploads_per_month, MONTH),
        )
        if limit is not None
    ]
    taken = None
    if windows:
        what = f"uploads to the project {project!r}"
        taken = await _take(context, "upload", f"project:{project}", windows, what)
    try:
        yield taken
    except BaseException:
        if taken is not None:
            await refund(context, taken)
        raise


async def refund(context: Context, taken: Taken) -> None:
    """Give a permit back."""
    await context.pool.execute(queries.remove, id=taken.id)


async def _take(
    context: Context, kind: Kind, who: str, windows: Sequence[_Window], what: str
) -> Taken:
    now = context.now()
    async with context.pool.transaction() as db:
        # Critical section from here to the commit: who counts sees what all others took.
        await db.execute(queries.lock, kind=kind, subject=who)
        standings = []
        for window in windows:
            used, frees = await _standing(db, kind, who, window, now)
            if used >= window.limit:
                raise Exceeded(
                    f"the limit of {window.limit:,} {what} in {_words(window.span)} is used up; "
                    f"the next one is possible in {_words(timedelta(seconds=frees))}",
                    retry_after=frees,
                    policy=window.policy,
                    standing=window.standing(0, frees),
                )
            standings.append(window.standing(window.limit - used - 1, frees))
        number: int = await db.fetch_value(queries.add, kind=kind, subject=who, at=now)
    return Taken(number, tuple(window.policy for window in windows), tuple(standings))


async def _standing(
    db: Connection, kind: Kind, who: str, window: _Window, now: datetime
) -> tuple[int, int]:
    """How many are used, and the seconds until there is room for one more than now."""
    since = now - window.span
    used: int = await db.fetch_value(queries.used, kind=kind, subject=who, since=since)
    frees = await db.fetch_value(
        queries.frees,
        kind=kind,
        subject=who,
        since=since,
        offset=max(0, used - window.limit),
    )
    return used, _seconds(frees, window.span, now)


def _seconds(frees: datetime | None, span: timedelta, now: datetime) -> int:
    return 0 if frees is None else max(1, math.ceil((frees + span - now).total_seconds()))


def _words(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{math.ceil(seconds / size)} {unit}"
    return f"{seconds} seconds"


async def require_room_for_project(db: Statements, context: Context, caller: Caller) -> None:
    """Let pass who may make one more project.

    Raises:
        Conflict: the caller maintains as many as the limit says.
    """
    most = _limits(context).projects
    if most is None or caller.user_id is None or caller.is_admin:
        return
    if await db.fetch_value(queries.projects_of, user_id=caller.user_id) >= most:
        raise Conflict(f"you maintain {most} projects, which is the limit; delete one first")


async def usage(context: Context, caller: Caller) -> Usage:
    """What the caller uses; uploads of the projects that it sees, the most first (at most 200).

    Raises:
        Refused: the caller's token lacks the scope `read`.
    """
    accounts.require(caller, "read")
    wanted = _limits(context)
    made = 0
    if caller.user_id is not None:
        made = await context.pool.fetch_value(queries.projects_of, user_id=caller.user_id)
    return Usage(
        preset=wanted.preset,
        analyses=await _meter(context, subject(caller), wanted),
        projects=Meter(made, wanted.projects),
        members_limit=wanted.members,
        uploads=await _uploads(context, caller, wanted),
    )


async def overview(context: Context) -> Overview:
    """What everybody uses. Who may ask is decided by who calls."""
    wanted = _limits(context)
    rows = await context.pool.fetch_all(
        queries.users, tuple, since=context.now() - wanted.analyses_window, limit=_LISTED
    )
    window = int(wanted.analyses_window.total_seconds())
    return Overview(
        preset=wanted.preset,
        members_limit=wanted.members,
        projects_limit=wanted.projects,
        users=[UserUsage(who, Meter(used, wanted.analyses, window)) for who, used in rows],
        uploads=await _uploads(context, None, wanted),
    )


async def _meter(context: Context, who: str, wanted: Limits) -> Meter:
    now, span = context.now(), wanted.analyses_window
    place = {"kind": "analysis", "subject": who, "since": now - span}
    used = await context.pool.fetch_value(queries.used, **place)
    frees = await context.pool.fetch_value(queries.frees, offset=0, **place)
    return Meter(used, wanted.analyses, int(span.total_seconds()), _seconds(frees, span, now))


async def _uploads(context: Context, caller: Caller | None, wanted: Limits) -> list[ProjectUsage]:
    now = context.now()
    rows = await context.pool.fetch_all(
        queries.uploads_of,
        tuple,
        day=now - DAY,
        month=now - MONTH,
        user_id=caller.user_id if caller else None,
        project_id=caller.project_id if caller else None,
        sees_all=caller is None or caller.sees_all,
        limit=_LISTED,
    )
    return [
        ProjectUsage(
            slug,
            Meter(day, wanted.uploads_per_day, int(DAY.total_seconds())),
            Meter(month, wanted.uploads_per_month, int(MONTH.total_seconds())),
        )
        for slug, day, month in rows
    ]


async def clean(context: Context) -> int:
    """Delete what no window reaches any more, in batches; return how much."""
    longest = max(MONTH, _limits(context).analyses_window)
    total = 0
    while True:
        deleted = await context.pool.execute(
            queries.clean, before=context.now() - longest, batch=_BATCH
        )
        total += deleted
        if deleted < _BATCH:
            return total
