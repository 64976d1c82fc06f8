"""Rate limits beside limits, throttled-py, pyrate-limiter and a raw EVALSHA, in one run.

    uv run python bench/ratelimit.py            # about three minutes; needs redis-server
    uv run python bench/ratelimit.py --short    # speed only, less than a minute
    uv run python bench/ratelimit.py --json figures.json

The peers are installed into an environment of their own. Each row of a table is measured in the
same run on the same machine; the order rotates, and the best of the rounds counts, so that what
else the machine does disturbs all alike. How many times faster than a raw EVALSHA we are comes from
the medians over short slices that alternate and last about equally long: of the checks a second,
and of the processor time that a check costs this process, which others hardly disturb.

It ends with each goal and its figure; exit status: 0 all met, 1 one missed, 2 could not run.

- `edge`, `50w`, `skew`: the largest number certainly admitted in one true window (100 is right):
  bursts aimed at the window's edge; five processes of ten tasks on one key; the same with two of
  the five clocks half a second ahead.
- `trips`: round trips for four policies of one request, with what is left of each.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import multiprocessing
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias

ROOT = Path(__file__).resolve().parent.parent
PEERS = ("limits==5.8.0", "throttled-py==3.5.0", "pyrate-limiter==4.5.1", "uvloop")
NAMES = ("raw", "ours", "limits", "throttled", "pyrate")
LIMIT = 100
Hit: TypeAlias = Callable[[str], Awaitable[bool]]
_RAW = """local n = redis.call('INCR', KEYS[1])
if n == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return n <= tonumber(ARGV[1]) and 1 or 0"""


# -- the candidates: hit(key) says whether it is admitted --------------------------------------


@asynccontextmanager
async def opened(name: str, url: str | None, seconds: float) -> AsyncIterator[Hit]:
    """`name` with 100 permits in `seconds`, on Redis at `url` or in memory."""
    async with _MAKERS[name](url, seconds) as hit:
        yield hit


@asynccontextmanager
async def raw(url: str | None, seconds: float) -> AsyncIterator[Hit]:
    if url is None:
        counts: dict[str, int] = {}

        async def count(key: str) -> bool:
            counts[key] = counts.get(key, 0) + 1
            return counts[key] <= LIMIT

        yield count
        return
    from redis.asyncio import Redis

    client = Redis.from_url(url)
    sha = await client.script_load(_RAW)
    milliseconds = int(seconds * 1000)

    async def hit(key: str) -> bool:
        return bool(await client.evalsha(sha, 1, key, LIMIT, milliseconds))

    yield hit
    await client.aclose()


@asynccontextmanager
async def ours(url: str | None, seconds: float) -> AsyncIterator[Hit]:
    from insight_cloud.ratelimit import Limiter, Policy, Redis

    policy = Policy("api", LIMIT, timedelta(seconds=seconds), "closed")
    if url is None:
        alone = Limiter()

        async def hit_alone(key: str) -> bool:
            return (await alone.hit(policy, key)).admitted

        yield hit_alone
        return
    async with Redis(url, timeout_seconds=5) as store:
        limiter = Limiter(store)

        async def hit(key: str) -> bool:
            return (await limiter.hit(policy, key)).admitted

        yield hit


@asynccontextmanager
async def limits(url: str | None, seconds: float) -> AsyncIterator[Hit]:
    from limits import RateLimitItemPerSecond  # type: ignore[import-not-found]
    from limits.aio.storage import MemoryStorage, RedisStorage  # type: ignore[import-not-found]
    from limits.aio.strategies import MovingWindowRateLimiter  # type: ignore[import-not-found]

    storage: Any = (
        MemoryStorage() if url is None else RedisStorage(f"async+{url}", implementation="redispy")
    )
    limiter = MovingWindowRateLimiter(storage)
    item = RateLimitItemPerSecond(LIMIT, int(seconds))

    async def hit(key: str) -> bool:
        return bool(await limiter.hit(item, key))

    yield hit


@asynccontextmanager
async def throttled(url: str | None, seconds: float) -> AsyncIterator[Hit]:
    from throttled.asyncio import Throttled, rate_limiter, store  # type: ignore[import-not-found]

    limiter = Throttled(
        using="sliding_window",
        quota=rate_limiter.per_duration(timedelta(seconds=seconds), LIMIT),
        store=store.MemoryStore() if url is None else store.RedisStore(server=url),
    )

    async def hit(key: str) -> bool:
        return not (await limiter.limit(key)).limited

    yield hit


@asynccontextmanager
async def pyrate(url: str | None, seconds: float) -> AsyncIterator[Hit]:
    from pyrate_limiter import BucketFactory, InMemoryBucket, Limiter, Rate, RateItem, RedisBucket
    from redis.asyncio import Redis

    client = None if url is None else Redis.from_url(url)
    rates = [Rate(LIMIT, int(seconds * 1000))]

    class Buckets(BucketFactory):
        """One bucket for each key, which the library leaves to its users."""

        def __init__(self) -> None:
            self.buckets: dict[str, Any] = {}

        def wrap_item(self, name: str, weight: int = 1) -> Any:
            return RateItem(name, int(time.time() * 1000), weight=weight)

        async def get(self, item: Any) -> Any:
            bucket = self.buckets.get(item.name)
            if bucket is None:
                bucket = (
                    InMemoryBucket(rates)
                    if client is None
                    else await RedisBucket.init(rates, client, f"pyrate:{item.name}")
                )
                self.buckets[item.name] = bucket
            return bucket

    limiter = Limiter(Buckets())

    async def hit(key: str) -> bool:
        return bool(await limiter.try_acquire_async(key, blocking=False))

    yield hit
    if client is not None:
        await client.aclose()


_MAKERS = {"raw": raw, "ours": ours, "limits": limits, "throttled": throttled, "pyrate": pyrate}


# -- exactness -------------------------------------------------------------------------------


def worst(admitted: list[tuple[float, float]], seconds: float) -> int:
    """The most admissions (sent, answered) that lie for certain in one window."""
    return max(
        (
            sum(1 for sent, answered in admitted if start <= sent and answered < start + seconds)
            for start, _ in admitted
        ),
        default=0,
    )


async def edge(name: str, url: str | None) -> int:
    """One hit, a burst just before the window ends, then hammering."""
    seconds, admitted = 2.0, []
    async with opened(name, url, seconds) as hit:
        await asyncio.gather(*(hit("warm") for _ in range(LIMIT)))  # connections are open
        began = time.monotonic()

        async def once() -> None:
            sent = time.monotonic()
            if await hit("edge"):
                admitted.append((sent, time.monotonic()))

        await once()
        await asyncio.sleep(seconds - 0.4)
        await asyncio.gather(*(once() for _ in range(LIMIT - 1)))
        while time.monotonic() < began + 2.6 * seconds:
            await asyncio.gather(*(once() for _ in range(10)))
            await asyncio.sleep(0.004)
    return worst(admitted, seconds)


def _worker(
    name: str, url: str, skew: float, ready: Any, results: multiprocessing.Queue[Any]
) -> None:
    true, true_ns = time.time, time.time_ns
    time.time = lambda: true() + skew
    time.time_ns = lambda: true_ns() + int(skew * 1e9)
    sys.path.insert(0, str(ROOT))
    results.put(asyncio.run(_hammer(name, url, ready)))


async def _hammer(name: str, url: str, ready: Any) -> list[tuple[float, float]]:
    admitted = []
    async with opened(name, url, 1.0) as hit:
        await hit("warm")
        await asyncio.to_thread(ready.wait, 60)  # until all processes are
        start = time.monotonic()

        async def task() -> None:
            while (sent := time.monotonic()) < start + 2.5:
                if await hit("many"):
                    admitted.append((sent, time.monotonic()))
                await asyncio.sleep(0.001)

        await asyncio.gather(*(task() for _ in range(10)))
    return admitted


def many_workers(name: str, url: str, skews: tuple[float, ...]) -> int:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    ready = context.Barrier(len(skews))
    workers = [
        context.Process(target=_worker, args=(name, url, skew, ready, results)) for skew in skews
    ]
    for worker in workers:
        worker.start()
    admitted = [pair for _ in workers for pair in results.get(timeout=60)]
    for worker in workers:
        worker.join()
    return worst(admitted, 1.0)


# -- speed -----------------------------------------------------------------------------------


async def rate(hit: Hit, tasks: int, total: int, keys: int) -> tuple[float, float]:
    """Checks a second by `tasks` tasks over `keys` keys, and the 99th percentile in ms."""
    times: list[float] = []

    async def task(number: int) -> None:
        clock = time.perf_counter
        for turn in range(total // tasks):
            began = clock()
            await hit(f"{(turn * tasks + number) % keys}")
            times.append(clock() - began)

    began = time.perf_counter()
    await asyncio.gather(*(task(number) for number in range(tasks)))
    passed = time.perf_counter() - began
    return len(times) / passed, sorted(times)[len(times) * 99 // 100] * 1000


async def speed(url: str, rounds: int) -> dict[str, dict[str, float]]:
    """Redis: the path that admits. The best of the rounds, in rotating order."""
    best: dict[str, dict[str, float]] = {name: {} for name in NAMES}
    async with contextlib.AsyncExitStack() as stack:
        hits = {name: await stack.enter_async_context(opened(name, url, 3600.0)) for name in NAMES}
        for turn in range(rounds):
            for position in range(len(NAMES)):
                name = NAMES[(turn + position) % len(NAMES)]
                _command(url, b"FLUSHDB")
                for tasks, total in ((1, 500), (50, 3000)):
                    per_second, p99 = await rate(hits[name], tasks, total, 500)
                    row = best[name]
                    row[f"x{tasks}"] = max(row.get(f"x{tasks}", 0), per_second)
                    row[f"p99x{tasks}"] = min(row.get(f"p99x{tasks}", 1e9), p99)
    return best


async def ratios(url: str, pairs: int) -> tuple[float, float]:
    """How many times the raw EVALSHA we are with 50 tasks: by speed, and by processor time.

    Medians over slices that alternate and last about equally long.
    """
    checks = {"ours": 1500, "raw": 500}
    speeds: dict[str, list[float]] = {name: [] for name in checks}
    costs: dict[str, list[float]] = {name: [] for name in checks}
    async with contextlib.AsyncExitStack() as stack:
        hits = {name: await stack.enter_async_context(opened(name, url, 3600.0)) for name in checks}
        for number in range(pairs):
            for name in ("ours", "raw") if number % 2 else ("raw", "ours"):
                _command(url, b"FLUSHDB")
                began = time.process_time()
                speeds[name].append((await rate(hits[name], 50, checks[name], 500))[0])
                costs[name].append((time.process_time() - began) / checks[name])
    speed_of, cost_of = (
        {name: statistics.median(row) for name, row in found.items()} for found in (speeds, costs)
    )
    return speed_of["ours"] / speed_of["raw"], cost_of["raw"] / cost_of["ours"]


async def memory_speed(rounds: int) -> dict[str, dict[str, float]]:
    """Memory: one task admitting over 2,000 keys, then denying one; the best of many slices."""
    best: dict[str, dict[str, float]] = {name: {"admit": 0.0, "deny": 0.0} for name in NAMES}
    keys = [f"user:{number}" for number in range(2000)]
    for turn in range(rounds):
        for position in range(len(NAMES)):
            name = NAMES[(turn + position) % len(NAMES)]
            row = best[name]
            async with opened(name, None, 3600.0) as hit:
                for key in keys:
                    await hit(key)
                for _ in range(30):
                    row["admit"] = max(row["admit"], await _in_turn(hit, keys))
                for _ in range(LIMIT):
                    await hit("user:0")
                for _ in range(30):
                    row["deny"] = max(row["deny"], await _in_turn(hit, ["user:0"] * len(keys)))
    return best


async def _in_turn(hit: Hit, keys: list[str]) -> float:
    began = time.perf_counter()
    for key in keys:
        await hit(key)
    return len(keys) / (time.perf_counter() - began)


async def local_denials(url: str, rounds: int) -> float:
    """Denials a second of a key that Redis has denied: `await limiter.hit(...)`, one task."""
    from insight_cloud.ratelimit import Limiter, Policy, Redis

    policy, best = Policy("api", LIMIT, timedelta(hours=1)), 0.0
    async with Redis(url, timeout_seconds=5) as store:
        limiter = Limiter(store)
        for _ in range(LIMIT + 1):
            await limiter.hit(policy, "attacker")
        for _ in range(rounds):
            began = time.perf_counter()
            for _ in range(300_000):
                await limiter.hit(policy, "attacker")
            best = max(best, 300_000 / (time.perf_counter() - began))
    return best


# -- cost ------------------------------------------------------------------------------------


async def round_trips(name: str, port: int) -> int:
    """Flights of one request with four policies, counted on the way to the server."""
    flights = 0
    asking = True

    async def carry(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool
    ) -> None:
        nonlocal flights, asking
        while data := await reader.read(65536):
            flights += up and asking
            asking = not up
            writer.write(data)
            await writer.drain()
        writer.close()

    async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        down, up = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(OSError, asyncio.CancelledError):  # both end with the peer
            await asyncio.gather(carry(reader, up, up=True), carry(down, writer, up=False))

    proxy = await asyncio.start_server(between, "127.0.0.1", 0)
    url = f"redis://127.0.0.1:{proxy.sockets[0].getsockname()[1]}/0"
    async with contextlib.AsyncExitStack() as stack:
        request = await _four(name, url, stack)
        await request()
        flights = 0
        await request()
    proxy.close()
    return flights


async def _four(
    name: str, url: str, stack: contextlib.AsyncExitStack
) -> Callable[[], Awaitable[Any]]:
    if name == "ours":
        from insight_cloud.ratelimit import Limiter, Policy, Redis

        limiter = Limiter(await stack.enter_async_context(Redis(url, timeout_seconds=5)))
        pairs = [(Policy(f"p{n}", LIMIT, timedelta(hours=1), "open"), "four") for n in range(4)]
        return lambda: limiter.hit_all(pairs)
    if name == "limits":  # what is left is a second call
        from limits import RateLimitItemPerHour
        from limits.aio.storage import RedisStorage
        from limits.aio.strategies import MovingWindowRateLimiter

        moving = MovingWindowRateLimiter(RedisStorage(f"async+{url}", implementation="redispy"))

        async def ask() -> None:
            for number in range(4):
                await moving.hit(RateLimitItemPerHour(LIMIT + number), "four")
                await moving.get_window_stats(RateLimitItemPerHour(LIMIT + number), "four")

        return ask
    hits = [
        await stack.enter_async_context(opened(name, url, 3600.0 + number)) for number in range(4)
    ]

    async def each() -> None:
        for number, hit in enumerate(hits):
            await hit(f"four:{number}")

    return each


async def state(name: str, url: str) -> tuple[int, int]:
    """Bytes of Redis for one key with all its permits used, and keys without a time to live."""
    _command(url, b"FLUSHDB")
    async with opened(name, url, 3600.0) as hit:
        for number in range(20):
            for _ in range(LIMIT):
                await hit(f"full:{number}")
        from redis.asyncio import Redis

        async with Redis.from_url(url) as client:
            keys = [key async for key in client.scan_iter("*full*")]
            used = sum([await client.memory_usage(key, samples=0) or 0 for key in keys])
            eternal = sum([await client.pttl(key) < 0 for key in keys])
    return used // 20, eternal


async def memory_state(name: str) -> int:
    async with opened(name, None, 3600.0) as hit:
        await hit("warm")
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for number in range(200):
            key = f"full:{number}"
            for _ in range(LIMIT):
                await hit(key)
        gc.collect()
        used = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
    return used // 200


# -- the run -----------------------------------------------------------------------------------


def _command(url: str, *words: bytes) -> bytes:
    port = int(url.rsplit(":", 1)[1].partition("/")[0])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(
            b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words)
        )
        return connection.recv(65536)


@contextlib.contextmanager
def redis_server() -> Iterator[int]:
    program = shutil.which("redis-server")
    assert program is not None, "main has looked"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        server = subprocess.Popen(
            [
                *(program, "--port", str(port), "--bind", "127.0.0.1", "--dir", directory),
                *("--save", "", "--appendonly", "no"),
            ],
            stdout=subprocess.DEVNULL,
        )
        try:
            limit = time.monotonic() + 10
            while True:
                try:
                    _command(f"redis://127.0.0.1:{port}/0", b"PING")
                    break
                except OSError:
                    if time.monotonic() > limit:
                        raise
                    time.sleep(0.02)
            yield port
        finally:
            server.kill()
            server.wait()


def inside(*, short: bool, file: Path | None) -> int:
    """Everything, in the environment that has the peers."""
    import uvloop

    with redis_server() as port:
        url = f"redis://127.0.0.1:{port}/0"
        redis_speed = uvloop.run(speed(url, rounds=8 if short else 15))
        faster, cheaper = uvloop.run(ratios(url, pairs=120))
        in_memory = uvloop.run(memory_speed(rounds=5))
        denials = uvloop.run(local_denials(url, rounds=5))
        exact = {} if short else _exactness(url)
        cost = {} if short else _cost(url, port)
    _print(redis_speed, in_memory, exact, cost)
    claims: list[Claim] = [
        ("checks in memory a second", in_memory["ours"]["admit"], ">=", 1e6),
        ("denials in memory a second", in_memory["ours"]["deny"], ">=", 1e6),
        ("denials a second of a key that Redis has denied", denials, ">=", 1e6),
        ("times raw EVALSHA, 50 tasks", faster, ">=", 2),
        ("the same by processor time of the client", cheaper, ">=", 2),
        *_exact_claims(exact.get("ours", {}), cost.get("ours", {})),
    ]
    print()
    if file is not None:
        figures = {
            "redis": redis_speed,
            "memory": in_memory,
            "exact": exact,
            "cost": cost,
            "claims": {claim[0]: claim[1] for claim in claims},
        }
        file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return report(claims)


Claim: TypeAlias = tuple[str, float, str, float]


def _exact_claims(exact: dict[str, Any], cost: dict[str, Any]) -> list[Claim]:
    """What the long run adds."""
    claims: list[Claim] = [
        (f"most admitted in a window ({how})", found, "<=", LIMIT) for how, found in exact.items()
    ]
    if cost:
        claims += [
            ("round trips for four policies", cost["trips"], "<=", 1),
            ("bytes of a full key in Redis", cost["bytes"], "<=", 1400),
            ("bytes of a full key in memory", cost["bytes_memory"], "<=", 1200),
            ("keys without a time to live", cost["eternal"], "<=", 0),
        ]
    return claims


def report(claims: list[Claim]) -> int:
    kept = True
    for name, found, sign, goal in claims:
        holds = found >= goal if sign == ">=" else found <= goal
        kept &= holds
        print(f"{name}: {found:,.2f} (goal {sign} {goal:,.0f}){'' if holds else ' MISSED'}")
    return 0 if kept else 1


def _exactness(url: str) -> dict[str, dict[str, Any]]:
    async def edges() -> dict[str, Any]:
        found = {}
        for name in NAMES:  # one after the other, so that no burst comes late
            found[name], found[f"{name} memory"] = await asyncio.gather(
                edge(name, url), edge(name, None)
            )
        return found

    exact: dict[str, dict[str, Any]] = {name: {} for name in NAMES}
    for key, value in asyncio.run(edges()).items():
        name, _, where = key.partition(" ")
        exact[name]["edge_memory" if where else "edge"] = value
    for name in NAMES:
        for title, skews in (("50w", (0.0,) * 5), ("skew", (0.0, 0.0, 0.0, 0.5, 0.5))):
            _command(url, b"FLUSHDB")
            exact[name][title] = many_workers(name, url, skews)
    return exact


def _cost(url: str, port: int) -> dict[str, dict[str, Any]]:
    cost: dict[str, dict[str, Any]] = {}
    for name in NAMES:
        used, eternal = asyncio.run(state(name, url))
        cost[name] = {
            "trips": asyncio.run(round_trips(name, port)),
            "bytes": used,
            "eternal": eternal,
            "bytes_memory": asyncio.run(memory_state(name)),
        }
    return cost


def _print(
    redis_speed: dict[str, dict[str, float]],
    in_memory: dict[str, dict[str, float]],
    exact: dict[str, dict[str, Any]],
    cost: dict[str, dict[str, Any]],
) -> None:
    raw_row, raw_memory = redis_speed["raw"], in_memory["raw"]
    print(
        f"{'Redis':10} {'edge':>5} {'50w':>5} {'skew':>5} {'trips':>5} {'x1/s':>9} {'vs raw':>6} "
        f"{'x50/s':>9} {'vs raw':>6} {'p99 x50':>8} {'bytes':>6} {'no TTL':>6}"
    )
    for name in NAMES:
        row, right, paid = redis_speed[name], exact.get(name, {}), cost.get(name, {})
        print(
            f"{name:10} {right.get('edge', '-'):>5} {right.get('50w', '-'):>5} "
            f"{right.get('skew', '-'):>5} {paid.get('trips', '-'):>5} {row['x1']:9,.0f} "
            f"{row['x1'] / raw_row['x1']:6.2f} {row['x50']:9,.0f} "
            f"{row['x50'] / raw_row['x50']:6.2f} {row['p99x50']:6.1f}ms "
            f"{paid.get('bytes', '-'):>6} {paid.get('eternal', '-'):>6}"
        )
    print(f"\n{'memory':10} {'edge':>5} {'admit/s':>11} {'vs dict':>7} {'deny/s':>11} {'bytes':>6}")
    for name in NAMES:
        line, right, paid = in_memory[name], exact.get(name, {}), cost.get(name, {})
        print(
            f"{name:10} {right.get('edge_memory', '-'):>5} {line['admit']:11,.0f} "
            f"{line['admit'] / raw_memory['admit']:7.2f} {line['deny']:11,.0f} "
            f"{paid.get('bytes_memory', '-'):>6}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="speed only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if shutil.which("redis-server") is None:
        print("redis-server is not installed (Debian: apt-get install redis-server)")
        return 2
    if arguments.inside:
        return inside(short=arguments.short, file=arguments.json)
    words: list[str | Path] = [ROOT / "scripts/uv", "run", "--quiet", "--isolated", "--no-project"]
    words += ["--with-editable", ROOT, *(word for peer in PEERS for word in ("--with", peer))]
    words += ["python", __file__, "--inside", *sys.argv[1:]]
    status = subprocess.run(words, check=False).returncode
    return status if status in {0, 1} else 2


if __name__ == "__main__":
    sys.exit(main())
