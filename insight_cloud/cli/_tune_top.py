"""`insight tune top`: the database and the cache as they are at this moment, again and again."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from insight_cloud.settings import Settings
    from insight_cloud.tuning.facts import Session

__all__ = ["picture", "run", "screen"]

_MOST_ROWS = 15


async def run(
    url: str | None, config: Path | None, *, every: float, once: bool, as_json: bool
) -> None:
    """Print a picture every so many seconds until interrupted."""
    from insight_cloud import settings
    from insight_cloud.tuning.postgres import connected

    wanted = settings.load(config)
    async with _target(wanted, url) as target, connected(target) as link:
        while True:
            found = await picture(link, wanted)
            if as_json:
                click.echo(msgspec.json.encode(found).decode())
            else:
                if not once:
                    click.clear()
                click.echo(screen(found, _width()))
            if once:
                return
            await asyncio.sleep(every)


def _width() -> int:
    import shutil

    return shutil.get_terminal_size((100, 24)).columns


@asynccontextmanager
async def _target(settings: Settings, url: str | None) -> AsyncIterator[str]:
    from insight_cloud import wiring

    if url is not None:
        yield url
        return
    async with wiring.database_url(settings) as ours:
        yield ours


async def picture(link: Any, settings: Settings) -> dict[str, Any]:
    """What there is to see now."""
    from insight_cloud.tuning import catalogue

    everybody = await catalogue.sessions(link)
    states = Counter(one.state or "hidden" for one in everybody)
    limit = int(await link.value("show max_connections"))
    busy = [one for one in everybody if one.state not in {"", "idle"}]
    return {
        "connections": {"states": dict(states), "all": len(everybody) + 1, "limit": limit},
        "sessions": [asdict(one) for one in sorted(busy, key=_standing)[:_MOST_ROWS]],
        "waits": dict(Counter(one.wait for one in busy if one.wait)),
        "cache": await _cache(settings),
    }


def _standing(one: Session) -> tuple[bool, float]:
    """Those that wait for a lock first, then the longest transaction."""
    return not one.blocked_by, -(one.transaction_seconds or 0)


async def _cache(settings: Settings) -> dict[str, Any] | None:
    from insight_cloud.core.errors import InsightError
    from insight_cloud.tuning import redis

    if settings.cache.url is None:
        return None
    url = settings.cache.url.get_secret_value()
    try:
        facts = await redis.read(url, prefix=settings.cache.namespace, sample=0, timeout_seconds=1)
    except InsightError as error:
        return {"problem": str(error)}
    return facts.as_metrics()


def screen(found: dict[str, Any], width: int) -> str:
    """The picture as lines."""
    held = found["connections"]
    states = ", ".join(f"{count} {state}" for state, count in sorted(held["states"].items()))
    lines = [f"connections  {held['all']} of {held['limit']}" + (f": {states}" if states else "")]
    if found["waits"]:
        waits = sorted(found["waits"].items(), key=lambda pair: -pair[1])
        lines.append("waits        " + ", ".join(f"{count} {name}" for name, count in waits))
    lines.append("cache        " + _cache_line(found["cache"]))
    lines += ["", f"{'process':>8} {'seconds':>8} {'state':20} {'wait or blocker':28} statement"]
    lines += [_session_line(one)[:width] for one in found["sessions"]]
    if not found["sessions"]:
        lines.append("nobody does anything")
    return "\n".join(lines)


def _cache_line(cache: dict[str, Any] | None) -> str:
    if cache is None:
        return "no Redis"
    if "problem" in cache:
        return str(cache["problem"])
    rate = "-" if cache["hit_rate"] is None else f"{cache['hit_rate']:.0%}"
    return (
        f"{cache['keys']:,} keys, {cache['used_bytes'] / 2**20:.1f} MiB, hits {rate},"
        f" evicted {cache['evicted']:,}, {cache['latency_ms']:.1f} ms"
    )


def _session_line(one: dict[str, Any]) -> str:
    waits = one["wait"]
    if one["blocked_by"]:
        waits = "blocked by " + ", ".join(map(str, one["blocked_by"]))
    seconds = one["transaction_seconds"] or 0.0
    query = " ".join(one["query"].split())
    return f"{one['pid']:>8} {seconds:>8.1f} {one['state'][:20]:20} {waits[:28]:28} {query}"
