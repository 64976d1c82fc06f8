"""The audit log: who did what that matters for security, written with the deed itself.

A line stands in the transaction of what it tells, so there is none without the other. Where a
request came from is known by the middleware that identifies it, and is kept in a context variable:
no service has to hand it down.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, get_args

from insight_cloud.app.accounts.models import Caller
from insight_cloud.app.api import Context, cursor, position
from insight_cloud.database import sql
from insight_cloud.database.statements import Statements

__all__ = ["ADDRESS", "EVENTS", "KEPT", "AuditPage", "Entry", "Event", "clean", "listed", "record"]

_SQL = sql.load(Path(__file__).with_suffix(".sql"))

ADDRESS: ContextVar[str] = ContextVar("address", default="")
"""Where the request came from that is being answered; empty outside of requests."""

KEPT = timedelta(days=365)
OPERATOR = "operator"
_TARGET_LIMIT, _DETAIL_LIMIT = 300, 1_000
_BATCH = 5_000
_LAST = 2**63 - 1

Event = Literal[
    "signed in",
    "sign-in failed",
    "password changed",
    "password link sent",
    "address verified",
    "user added",
    "user disabled",
    "user enabled",
    "administrator made",
    "administrator unmade",
    "token made",
    "token revoked",
    "project made",
    "project changed",
    "project deleted",
    "branch deleted",
    "member changed",
    "member removed",
    "gate changed",
    "issues judged",
    "suppression added",
    "suppression removed",
    "webhook added",
    "webhook changed",
    "webhook removed",
]
EVENTS: tuple[Event, ...] = get_args(Event)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: who, by what means, from where, did what to what."""

    at: datetime
    actor: str
    via: str
    address: str
    event: str
    project: str | None
    target: str
    detail: str


@dataclass(frozen=True, slots=True)
class AuditPage:
    """A part of the log, newest first, and the cursor of the next part."""

    items: tuple[Entry, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class _Row(Entry):
    number: int


async def record(
    db: Statements,
    context: Context,
    event: Event,
    *,
    by: Caller | str | None = None,
    project: str | None = None,
    target: str = "",
    detail: str = "",
) -> None:
    """Write a line.

    `by` None is the operator of the server, a text somebody who has just proved who that is, or
    failed to.
    """
    actor, via = _named(by)
    await db.execute(
        _SQL.record,
        at=context.now(),
        actor=actor,
        via=via,
        address=ADDRESS.get(),
        event=event,
        project=project,
        target=target[:_TARGET_LIMIT],
        detail=detail[:_DETAIL_LIMIT],
    )


def _named(by: Caller | str | None) -> tuple[str, str]:
    if by is None:
        return OPERATOR, "server"
    if isinstance(by, str):
        return by[:_TARGET_LIMIT], "password"
    return by.email or by.name, by.kind


async def listed(
    context: Context,
    *,
    event: str | None = None,
    actor: str | None = None,
    project: str | None = None,
    after: str | None = None,
    limit: int = 100,
) -> AuditPage:
    """Read the log, newest first. Who may is decided by who calls.

    Raises:
        Invalid: the cursor is not one of this list.
    """
    (before,) = position(after, int) or (_LAST,)
    rows = await context.pool.fetch_all(
        _SQL.listed,
        _Row,
        event=event,
        actor=actor,
        project=project,
        before=before,
        limit=limit + 1,
    )
    more = len(rows) > limit
    return AuditPage(
        tuple(_bare(row) for row in rows[:limit]),
        cursor(rows[limit - 1].number) if more else None,
    )


async def clean(context: Context) -> int:
    """Delete lines older than a year, in batches; return how many."""
    total = 0
    while True:
        deleted = await context.pool.execute(_SQL.clean, before=context.now() - KEPT, batch=_BATCH)
        total += deleted
        if deleted < _BATCH:
            return total


def _bare(row: _Row) -> Entry:
    return Entry(
        row.at, row.actor, row.via, row.address, row.event, row.project, row.target, row.detail
    )
