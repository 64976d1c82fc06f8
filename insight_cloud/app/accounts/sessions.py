"""Sessions near at hand: whose a secret is, mostly without asking the database.

Only a cache that all processes share is used, and whoever ends a session deletes it there
after the commit. While that cache is away nothing is taken from it, and what was deleted
meanwhile is deleted before it is used again. A process that dies between its commit and the
deletion leaves a session valid for at most `_LIFE` elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from insight_cloud.app.accounts import queries
from insight_cloud.app.accounts.queries import SessionRow
from insight_cloud.app.api import Context
from insight_cloud.cache import Key
from insight_cloud.core.errors import Unauthenticated

__all__ = ["find", "forget"]

_LIFE = timedelta(minutes=1)
_AT_ONCE = timedelta(0)


async def find(context: Context, digest: bytes, *, now: datetime) -> SessionRow | None:
    """The owner of a browser session or an access token that is valid at `now`."""
    if not context.cache.shared:
        return await queries.find_session(context.pool, digest, now=now)

    async def look() -> SessionRow:
        row = await queries.find_session(context.pool, digest, now=now)
        if row is None:
            # An error is not kept: secrets that somebody invents fill no cache.
            raise Unauthenticated("there is no such session")
        return row

    try:
        row = await context.cache.get_or_set(_key(digest), look, _LIFE, stale=_AT_ONCE)
    except Unauthenticated:
        return None
    return row if row.expires_at > now else None


async def forget(context: Context, digests: Iterable[bytes]) -> None:
    """Let no process believe in these sessions any more. Call it after the commit."""
    if context.cache.shared:
        await context.cache.delete(*map(_key, digests))


def _key(digest: bytes) -> Key[SessionRow]:
    return Key(f"session:{digest.hex()}", SessionRow)
