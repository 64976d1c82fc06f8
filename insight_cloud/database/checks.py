"""What can be asked of a database while it serves: does it answer, how fast, with which schema."""

from __future__ import annotations

from importlib.resources.abc import Traversable
from pathlib import Path

from insight_cloud.core.errors import InsightError
from insight_cloud.core.report import Check, Status, stopwatch
from insight_cloud.database import migrations
from insight_cloud.database.pool import Pool

__all__ = ["check"]

_OLDEST_VERSION = 14
_SLOW_SECONDS = 0.1


async def check(
    pool: Pool, *, migrations_directory: Path | Traversable | None = None
) -> list[Check]:
    """Ask one question after the other; the first unanswered one ends the list."""
    checks = [await _latency(pool), _connections(pool)]
    if checks[0].status == "fail":
        return checks
    checks.append(await _version(pool))
    if migrations_directory is not None:
        checks.append(await _migrations(pool, migrations_directory))
    return checks


async def _latency(pool: Pool) -> Check:
    with stopwatch() as watch:
        try:
            await pool.fetch_value("select 1")
        except InsightError as error:
            return Check("database.latency", "fail", str(error), watch.seconds)
    status: Status = "warn" if watch.seconds > _SLOW_SECONDS else "pass"
    return Check("database.latency", status, f"{watch.seconds * 1000:.1f} ms", watch.seconds)


def _connections(pool: Pool) -> Check:
    found = pool.statistics()
    detail = (
        f"{found.size} of at most {found.max_size} open, {found.idle} idle, {found.waiting} waiting"
    )
    return Check("database.connections", "warn" if found.waiting else "pass", detail)


async def _version(pool: Pool) -> Check:
    with stopwatch() as watch:
        try:
            version: str = await pool.fetch_value("select current_setting('server_version')")
        except InsightError as error:
            return Check("database.version", "fail", str(error), watch.seconds)
    supported = int(version.split(".", maxsplit=1)[0]) >= _OLDEST_VERSION
    detail = version if supported else f"{version}; at least {_OLDEST_VERSION} is needed"
    return Check("database.version", "pass" if supported else "fail", detail, watch.seconds)


async def _migrations(pool: Pool, directory: Path | Traversable) -> Check:
    with stopwatch() as watch:
        try:
            state = await migrations.status(pool, directory)
        except InsightError as error:
            return Check("database.migrations", "fail", str(error), watch.seconds)
    detail = f"{len(state.applied)} applied"
    if state.pending:
        return Check("database.migrations", "fail", f"pending: {', '.join(state.pending)}")
    if state.ahead:
        detail += f", {len(state.ahead)} of them newer than this program"
    return Check("database.migrations", "pass", detail, watch.seconds)
