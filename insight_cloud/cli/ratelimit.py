"""`insight ratelimit`: see how a key stands with every limit, and give its permits back."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

import click

from insight_cloud.cli._output import emit, json_option, statuses

if TYPE_CHECKING:
    from insight_cloud.ratelimit import Pair, RateLimitSettings, Redis, Upstash

__all__ = ["command"]


@click.group()
def command() -> None:
    """See and reset the rate limits that the service keeps in Redis.

    A KEY is what a limit is applied to, for example ip:203.0.113.7, ip:2001:db8::/64 or
    user:42.
    """


@command.command(epilog=statuses(6))
@click.argument("key")
@json_option
def show(key: str, *, as_json: bool) -> None:
    """Show what KEY has left of every limit."""
    standings = asyncio.run(_show(key))

    def human() -> None:
        for standing in standings:
            left, limit = standing["remaining"], standing["limit"]
            line = f"{standing['policy']:12} {left:>7} of {limit} left"
            if standing["next_seconds"]:
                line += f", more in {math.ceil(standing['next_seconds'])} s"
            click.echo(line)

    emit(standings, as_json=as_json, human=human)


@command.command(epilog=statuses(6))
@click.argument("key")
@json_option
def reset(key: str, *, as_json: bool) -> None:
    """Give KEY all permits of every limit back; each process notices within a second."""
    names = asyncio.run(_reset(key))
    emit(
        {"key": key, "reset": names},
        as_json=as_json,
        human=lambda: click.echo(f"{key}: reset {', '.join(names)}"),
    )


async def _show(key: str) -> list[dict[str, Any]]:
    store, limits = _store()
    async with store:
        answer = await store.hit(_pairs(limits, key), 0)
    return [
        {
            "policy": policy.name,
            "limit": policy.limit,
            "window_seconds": policy.seconds,
            "remaining": remaining,
            "next_seconds": following,
        }
        for (policy, _), (remaining, _, following) in zip(answer.pairs, answer.rows, strict=True)
    ]


async def _reset(key: str) -> list[str]:
    store, limits = _store()
    pairs = _pairs(limits, key)
    async with store:
        await store.reset(pairs)
    return [policy.name for policy, _ in pairs]


def _pairs(limits: RateLimitSettings, key: str) -> list[Pair]:
    return [(policy, key) for policy in limits.policies().values()]


def _store() -> tuple[Redis | Upstash, RateLimitSettings]:
    from insight_cloud import settings, wiring
    from insight_cloud.core.errors import SettingsError

    found = settings.load()
    # A person waits longer than a request does.
    patient = found.ratelimit.model_copy(
        update={"timeout_seconds": max(2, found.ratelimit.timeout_seconds)}
    )
    store = wiring.limit_store(found.model_copy(update={"ratelimit": patient}))
    if store is None:
        raise SettingsError(
            "there is no Redis, so the limits are in the memory of the serving processes: restart "
            "the service to reset them, or set REDIS_URL"
        )
    return store, found.ratelimit
