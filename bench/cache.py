"""The cache beside cashews, aiocache and a raw redis-py GET: hits, coherence, stampede, outage.

    uv run python bench/cache.py            # about a minute; needs redis-server
    uv run python bench/cache.py --short

The peers are installed into an environment of their own. Every row of the first table reads one
0.9 KB value under one key, so fifty tasks may share a flight or a command where a cache does that;
rounds rotate the rows, and the median of the rounds is shown beside the raw GET with JSON of the
same run. It starts its own Redis, and ends with each goal and its figure; exit status: 0 all met,
1 one missed, 2 could not run.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from redis import asyncio as client
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from insight_cloud.cache import Cache, Redis
from tests.redis import RedisServer, redis_server

ROOT = Path(__file__).parents[1]
SLICE = 5_000  # hits timed together: less than a busy machine lets us run undisturbed
PEERS = ("cashews==7.6.0", "aiocache==0.12.3", "pytest")  # the last one for our own Redis
VALUE = {"id": 7, "name": "a project", "tags": ["x"] * 20, "text": "lorem ipsum " * 62}
RAW = "raw redis-py GET + json"
Read = Callable[[], Awaitable[Any]]


async def speeds(server: RedisServer, rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    """Reads a second of each way, by one task and by fifty."""
    ways, closers = await readers(server)
    found: dict[str, dict[str, list[float]]] = {name: {"x1": [], "x50": []} for name in ways}
    names = list(ways)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            found[name]["x1"].append(await rate(ways[name], 1, seconds))
            found[name]["x50"].append(await rate(ways[name], 50, seconds))
    for close in closers:
        await close()
    return {
        name: {tasks: statistics.median(values) for tasks, values in columns.items()}
        for name, columns in found.items()
    }


async def readers(server: RedisServer) -> tuple[dict[str, Read], list[Read]]:
    near = Cache(Redis(server.url), namespace="near")
    far = Cache(Redis(server.url), namespace="far", local_bytes=0)
    raw = client.Redis.from_url(server.url, protocol=2, retry=Retry(NoBackoff(), 0))
    await near.open()
    await coherent(near)
    await near.get_or_set("a", value)
    await far.get_or_set("a", value)
    await raw.set("raw", json.dumps(VALUE))
    ways: dict[str, Read] = {
        RAW: lambda: raw_get(raw),
        "insight get, copy": lambda: near.get("a"),
        "insight get_or_set, copy": lambda: near.get_or_set("a", value),
        "insight get, Redis": lambda: far.get("a"),
        "insight get_or_set, Redis": lambda: far.get_or_set("a", value),
    }
    closers: list[Read] = [near.close, far.close, raw.aclose]
    for add in (add_cashews, add_aiocache):
        await add(server, ways, closers)
    return ways, closers


async def value() -> Any:
    return VALUE


async def raw_get(raw: Any) -> Any:
    return json.loads(await raw.get("raw"))


async def add_cashews(server: RedisServer, ways: dict[str, Read], closers: list[Read]) -> None:
    cashews = importlib.import_module("cashews")
    memory, store, near = cashews.Cache(), cashews.Cache(), cashews.Cache()
    memory.setup("mem://")
    store.setup(server.url)
    near.setup(server.url + "?protocol=2", client_side=True)  # with protocol 3 it stays stale
    for cache in (memory, store, near):
        await cache.set("cashews", VALUE, expire=600)
        await cache.get("cashews")
        closers.append(cache.close)
    ways["cashews get, memory"] = lambda: memory.get("cashews")
    ways["cashews get, client side"] = lambda: near.get("cashews")
    ways["cashews get, Redis"] = lambda: store.get("cashews")


async def add_aiocache(server: RedisServer, ways: dict[str, Read], closers: list[Read]) -> None:
    aiocache = importlib.import_module("aiocache")
    serializers = importlib.import_module("aiocache.serializers")
    memory = aiocache.SimpleMemoryCache()
    store = aiocache.RedisCache(port=server.port, serializer=serializers.JsonSerializer())
    for cache in (memory, store):
        await cache.set("aiocache", VALUE, ttl=600)
        closers.append(cache.close)
    ways["aiocache get, memory"] = lambda: memory.get("aiocache")
    ways["aiocache get, Redis"] = lambda: store.get("aiocache")


async def rate(read: Read, tasks: int, seconds: float) -> float:
    done = 0
    began = time.perf_counter()
    end = began + seconds

    async def work() -> None:
        nonlocal done
        while time.perf_counter() < end:
            for _ in range(20):
                await read()
            done += 20

    await asyncio.gather(*(work() for _ in range(tasks)))
    return done / (time.perf_counter() - began)


async def hits(server: RedisServer, seconds: float) -> tuple[float, int]:
    """Hits a second in a plain loop, and the reads that Redis saw meanwhile."""
    async with Cache(Redis(server.url), namespace="hits") as cache:
        await coherent(cache)
        await cache.get_or_set("a", value)
        while not cache.stats().local_hits:
            await cache.get("a")
            await asyncio.sleep(0.001)
        before, best = reads(server), 0.0
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            began = time.perf_counter()
            for _ in range(SLICE):
                await cache.get("a")
            best = max(best, SLICE / (time.perf_counter() - began))
        return best, reads(server) - before


def reads(server: RedisServer) -> int:
    lines = server.command("INFO", "commandstats").splitlines()
    return sum(
        int(line.partition("calls=")[2].partition(",")[0])
        for line in lines
        if line.startswith(("cmdstat_get:", "cmdstat_mget:"))
    )


async def foreign_write(server: RedisServer, writes: int) -> float:
    """Median milliseconds from the end of another process' write until it is read here."""
    delays: list[float] = []
    async with (
        Cache(Redis(server.url), namespace="seen") as reader,
        Cache(Redis(server.url), namespace="seen") as writer,
    ):
        await coherent(reader)
        for number in range(writes):
            while not reader.stats().local_entries:
                await reader.get_or_set("a", value)
                await asyncio.sleep(0.001)
            await writer.set("a", [number])
            began = time.perf_counter()
            while await reader.get("a") != [number]:  # noqa: ASYNC110 - this is measured
                await asyncio.sleep(0)
            delays.append(time.perf_counter() - began)
    return statistics.median(delays) * 1000


async def coherent(cache: Cache) -> None:
    """Until copies are kept."""
    async with asyncio.timeout(5):
        while not cache.stats().local_entries:
            await cache.get_or_set("probe", value)
            await asyncio.sleep(0.01)
    await cache.delete("probe")


def stampede(server: RedisServer, work_seconds: float) -> tuple[int, int]:
    """Computations and commands when 100 callers in each of 2 processes want one value."""
    command = [sys.executable, "-m", "tests.cache.stampede", server.url, f"s{work_seconds}", "100"]
    processes = [
        subprocess.Popen(
            [*command, str(work_seconds)],
            cwd=ROOT,
            env={},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    for process in processes:
        line(process)
    before = server.commands_processed()
    for process in processes:
        go(process)
    computed = sum(int(line(process).split()[0]) for process in processes)
    commands = server.commands_processed() - before
    for process in processes:
        go(process)
        process.wait()
    return computed, commands


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


async def outages(rounds: int) -> dict[str, float]:
    """Median milliseconds of a get_or_set whose work takes no time, while Redis is away."""
    found: dict[str, list[float]] = {}
    with redis_server() as server:
        async with Cache(Redis(server.url), namespace="out") as cache:
            for number in range(rounds):
                await cache.set("warm", 1)
                server.kill()
                await decide(cache, f"k{number}", "killed", found)
                began = time.perf_counter()
                server.restart()
                await closed(cache)
                taken = (time.perf_counter() - began) * 1000
                found.setdefault("restarted, normal after", []).append(taken)
                await cache.set("warm", 1)
                server.stop()
                await decide(cache, f"h{number}", "hung", found)
                server.resume()
                await closed(cache)
    return {name: statistics.median(values) for name, values in found.items()}


async def closed(cache: Cache) -> None:
    while cache.stats().circuit_open:  # noqa: ASYNC110 - no event says so
        await asyncio.sleep(0.005)


async def decide(cache: Cache, key: str, outage: str, found: dict[str, list[float]]) -> None:
    for number in range(20):
        began = time.perf_counter()
        await cache.get_or_set(f"{key}:{number}", value)
        taken = (time.perf_counter() - began) * 1000
        found.setdefault(f"{outage}, {'later' if number else 'first'}", []).append(taken)


async def cancelled() -> tuple[int, int]:
    """Served of nine and computations, when the first and when another of ten is cancelled."""
    served = computed = 0
    for victim in (0, 5):
        async with Cache(namespace="c") as cache:

            async def work() -> str:
                nonlocal computed
                computed += 1
                await asyncio.sleep(0.05)
                return "x"

            tasks = [asyncio.create_task(cache.get_or_set("a", work)) for _ in range(10)]
            await asyncio.sleep(0.01)
            tasks.pop(victim).cancel()
            served += sum(v == "x" for v in await asyncio.gather(*tasks, return_exceptions=True))
    return served, computed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if shutil.which("redis-server") is None:
        print("redis-server is not installed (Debian: apt-get install redis-server)")
        return 2
    if not options.inside:
        return with_peers()
    rounds, seconds = (2, 0.1) if options.short else (5, 0.3)
    figures: dict[str, Any] = {}
    with redis_server() as server:
        figures["reads_per_second"] = asyncio.run(speeds(server, rounds, seconds))
        figures["hits_per_second"], figures["commands"] = asyncio.run(hits(server, 10 * seconds))
        figures["foreign_write_ms"] = asyncio.run(foreign_write(server, 20 * rounds))
        for work_seconds in (0.1, 3.0):
            figures[f"stampede_{work_seconds:g}_s"] = stampede(server, work_seconds)
    figures["outages_ms"] = asyncio.run(outages(rounds))
    figures["cancelled"] = asyncio.run(cancelled())
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return report(figures)


def with_peers() -> int:
    """Run this again in an environment that has the peers."""
    words: list[str | Path] = [ROOT / "scripts/uv", "run", "--quiet", "--isolated", "--no-project"]
    words += ["--with-editable", ROOT, *(word for peer in PEERS for word in ("--with", peer))]
    words += ["python", __file__, "--inside", *sys.argv[1:]]
    status = subprocess.run(words, check=False).returncode
    return status if status in {0, 1} else 2


def report(figures: dict[str, Any]) -> int:
    table = figures["reads_per_second"]
    print(f"{'reads a second':28} {'1 task':>12} {'50 tasks':>12} {'of raw':>8}")
    for name, row in sorted(table.items(), key=lambda item: -item[1]["x50"]):
        ratio = row["x50"] / table[RAW]["x50"]
        print(f"{name:28} {row['x1']:12,.0f} {row['x50']:12,.0f} {ratio:8.2f}")
    times = table["insight get_or_set, Redis"]["x50"] / table[RAW]["x50"]
    away = figures["outages_ms"]
    short, long = figures["stampede_0.1_s"], figures["stampede_3_s"]
    claims = [
        ("hits a second on a copy", figures["hits_per_second"], ">=", 1e6),
        ("commands for them", figures["commands"], "<=", 0),
        ("foreign write seen after, ms", figures["foreign_write_ms"], "<=", 2),
        ("get_or_set hit on Redis, times raw GET", times, ">=", 2),
        ("stampede of 2x100: computations", short[0], "<=", 1),
        ("stampede of 2x100: commands", short[1], "<=", 50),
        ("stampede, work of 3 s: computations", long[0], "<=", 1),
        ("stampede, work of 3 s: commands", long[1], "<=", 50),
        ("cancelled leader, follower: served of 18", figures["cancelled"][0], ">=", 18),
        ("cancelled leader, follower: computations", figures["cancelled"][1], "<=", 2),
        ("killed: first decision, ms", away["killed, first"], "<=", 5),
        ("killed: later decisions, ms", away["killed, later"], "<=", 5),
        ("hung: first decision, ms", away["hung, first"], "<=", 250),
        ("hung: later decisions, ms", away["hung, later"], "<=", 1),
        ("restarted: normal after, ms", away["restarted, normal after"], "<=", 1000),
    ]
    print()
    kept = True
    for name, found, sign, goal in claims:
        holds = found >= goal if sign == ">=" else found <= goal
        kept &= holds
        print(f"{name}: {found:,.2f} (goal {sign} {goal:,.0f}){'' if holds else ' MISSED'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
