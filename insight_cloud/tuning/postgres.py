"""The connection to the server that is looked at; psycopg's errors end here."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row

from insight_cloud.core.errors import Conflict, InsightError, Missing, Refused, SettingsError
from insight_cloud.core.errors import Unavailable as Away

__all__ = ["Link", "connected", "environment", "is_local", "label"]

_SETTINGS = (
    "set timezone = 'UTC'",
    "set search_path = pg_catalog, public",
    "set client_encoding = 'UTF8'",
    "set lock_timeout = '2s'",
    "set statement_timeout = '60s'",
    "set idle_in_transaction_session_timeout = 0",
    "set jit = off",
)


class Link:
    """A connection of ours, in autocommit, whose errors are ours."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    @property
    def pid(self) -> int:
        """The server's process for us."""
        return self._connection.info.backend_pid

    @property
    def version(self) -> int:
        """As in `server_version_num`."""
        return self._connection.info.server_version

    async def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Run one statement; return its rows by column name."""
        with translated():
            async with self._connection.cursor(row_factory=dict_row) as cursor:
                # Statements are ours, or the operator's own workload, which is only explained.
                await cursor.execute(query.encode(), parameters or None)
                return await cursor.fetchall() if cursor.description else []

    async def value(self, query: str, parameters: Sequence[Any] = ()) -> Any:
        """Run one statement; return the first column of its first row, None without one."""
        rows = await self.rows(query, parameters)
        return next(iter(rows[0].values())) if rows else None

    @asynccontextmanager
    async def undone(self) -> AsyncIterator[None]:
        """A transaction whose every effect is taken back."""
        with translated():
            async with self._connection.transaction(force_rollback=True):
                yield

    async def close(self) -> None:
        """End the connection, whatever it is doing."""
        with contextlib.suppress(psycopg.Error):
            await self._connection.close()


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn psycopg's errors into ours."""
    try:
        yield
    except psycopg.Error as error:
        raise _explain(error) from error


_CONFLICTS = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.QueryCanceled,
    psycopg.errors.ObjectInUse,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.DuplicateTable,
    psycopg.errors.IntegrityError,
)
_MISSING = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedObject)


def _explain(error: psycopg.Error) -> InsightError:
    said = " ".join((error.diag.message_primary or str(error)).split())[:500] or "no reason"
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return Refused(f"the database refuses: {said}")
    if isinstance(error, _CONFLICTS):
        return Conflict(said)
    if isinstance(error, _MISSING):
        return Missing(said)
    if isinstance(error, psycopg.OperationalError):
        # Before a connection is made there is no code, only the server's words.
        if any(words in said for words in _NOT_LET_IN):
            return Refused(f"the database does not let us in: {said}")
        return Away(f"the database does not answer: {said}; try again")
    return Refused(f"the database does not understand: {said}")


_NOT_LET_IN = ("authentication failed", "no pg_hba.conf entry", "does not exist", "no password")


@asynccontextmanager
async def connected(url: str, *, settings: Mapping[str, str] | None = None) -> AsyncIterator[Link]:
    """A connection that never waits long for anybody: two seconds for locks, a minute in all.

    `settings` are further ones of PostgreSQL's, for this connection.

    Raises:
        SettingsError: `url` is no connection URL.
        Unavailable: the server cannot be reached.
        Refused: it does not let us in.
    """
    found = {"application_name": "insight tune", "connect_timeout": "10", **_parameters(url)}
    with translated():
        connection = await psycopg.AsyncConnection.connect(
            **{**found, "autocommit": True, "prepare_threshold": None}  # type: ignore[arg-type]
        )
    link = Link(connection)
    try:
        for setting in _SETTINGS:
            await link.rows(setting)
        for name, value in (settings or {}).items():
            await link.rows("select set_config(%s, %s, false)", [name, value])
        yield link
    finally:
        await link.close()


def is_local(url: str) -> bool:
    """Whether the server runs on this machine, so that its memory is ours to see."""
    found = _parameters(url)
    host = found.get("host") or found.get("hostaddr") or "/"
    return all(
        one.startswith(("/", "@")) or one in {"localhost", "127.0.0.1", "::1"}
        for one in host.split(",")
    )


def label(url: str) -> str:
    """What a report calls the database: host and name, never the user or a secret."""
    found = _parameters(url)
    host = found.get("host") or found.get("hostaddr") or "local"
    name = found.get("dbname") or found.get("user") or ""
    return f"{'local' if host.startswith('/') else host}/{name}"


def _parameters(url: str) -> dict[str, str]:
    try:
        return {name: str(value) for name, value in conninfo_to_dict(url).items()}
    except psycopg.ProgrammingError as error:
        # libpq's message quotes the URL, password and all.
        raise SettingsError(
            "the database URL cannot be read: postgresql://USER@HOST/NAME"
        ) from error


def environment(url: str) -> dict[str, str]:
    """How PostgreSQL's own programs are told of `url`, so that no secret is in their arguments."""
    found = _parameters(url)
    named = {name: found[key] for key, name in _VARIABLES.items() if found.get(key)}
    return {"PATH": os.defpath, "LC_ALL": "C", "PGAPPNAME": "insight tune", **named}


_VARIABLES = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "dbname": "PGDATABASE",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "options": "PGOPTIONS",
}
