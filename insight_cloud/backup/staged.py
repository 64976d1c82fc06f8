"""Databases that exist only while a backup is being restored or tried out, and cannot stay behind.

A database called `NAME__restore_TOKEN` belongs to whoever holds its lock on the server; the
server releases the lock however its holder ends. Who comes later removes the ones without one.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from psycopg import sql

from insight_cloud.backup import postgres
from insight_cloud.backup.manifest import Server
from insight_cloud.backup.postgres import Link
from insight_cloud.core.errors import InsightError, Missing, Refused

__all__ = ["maintenance", "staged"]

_STAGED = re.compile(r".*__restore_[0-9a-f]{8}")
_LONGEST_NAME = 63
_LOCK = "select pg_try_advisory_lock(hashtextextended('insight restore ' || %s, 0))"
_UNLOCK = "select pg_advisory_unlock(hashtextextended('insight restore ' || %s, 0))"


@asynccontextmanager
async def maintenance(url: str) -> AsyncIterator[Link]:
    """A connection to a database of the server that is neither backed up nor restored."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            link = await stack.enter_async_context(postgres.connected(url, database="postgres"))
        except Missing:
            link = await stack.enter_async_context(postgres.connected(url, database="template1"))
        yield link


@asynccontextmanager
async def staged(link: Link, name: str, server: Server) -> AsyncIterator[str]:
    """A new, empty database like the one that was backed up; dropped at the end if it is there.

    To keep it, rename it. `link` must stay open meanwhile: it holds the lock.

    Raises:
        Refused: we may not make databases, or this server lacks the locale.
    """
    await sweep(link)
    token = secrets.token_hex(4)
    chosen = f"{name.encode()[: _LONGEST_NAME - 18].decode('utf-8', 'ignore')}__restore_{token}"
    await link.value(_LOCK, [chosen])
    try:
        await _create(link, chosen, server)
        yield chosen
    finally:
        dropping = asyncio.ensure_future(_drop(link, chosen))
        try:
            await asyncio.shield(dropping)
        except asyncio.CancelledError:
            await asyncio.wait([dropping])
            raise


async def sweep(link: Link) -> list[str]:
    """Drop what dead restores have left on the server; return the names."""
    names = await link.rows("select datname::text as name from pg_database where not datistemplate")
    dropped = []
    for name in (row["name"] for row in names if _STAGED.fullmatch(row["name"])):
        if await link.value(_LOCK, [name]):
            await _drop(link, name)
            await link.value(_UNLOCK, [name])
            dropped.append(name)
    return dropped


async def _drop(link: Link, name: str) -> None:
    with contextlib.suppress(InsightError):  # the server is away, or it was renamed: swept later
        await link.rows(
            sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
        )


async def _create(link: Link, name: str, server: Server) -> None:
    number = int(await link.value("select current_setting('server_version_num')::int"))
    options = [
        sql.SQL("encoding {}").format(sql.Literal(server.encoding)),
        sql.SQL("lc_collate {}").format(sql.Literal(server.collate)),
        sql.SQL("lc_ctype {}").format(sql.Literal(server.ctype)),
        *_provider(server, number),
    ]
    query = sql.SQL("create database {} template template0 {}").format(
        sql.Identifier(name), sql.SQL(" ").join(options)
    )
    try:
        await link.rows(query)
    except InsightError as error:
        if "locale" not in str(error) and "ICU" not in str(error):
            raise
        raise Refused(
            f"this server cannot make a database with the locale of the backup ({server.collate},"
            f" provider {server.provider}): {error}. Install the locale on the server"
        ) from error


def _provider(server: Server, number: int) -> list[Any]:
    if number < 150000 or server.provider == "c":
        return []
    names = {"i": "icu", "b": "builtin"}
    option = "icu_locale" if server.provider == "i" else "builtin_locale"
    return [
        sql.SQL("locale_provider {}").format(sql.SQL(names[server.provider])),
        sql.SQL("{} {}").format(sql.SQL(option), sql.Literal(server.locale)),
    ]
