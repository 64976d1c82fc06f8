"""One of the processes of a stampede: waits for the signal, asks, and says what it saw.

    python -m tests.cache.stampede URL NAMESPACE CALLERS WORK_SECONDS

It prints `ready`, waits for a line, asks for one key by so many callers at once, and prints
how often the value was computed here and how many callers got it.
"""

from __future__ import annotations

import asyncio
import sys

from insight_cloud.cache import Cache, Redis


async def run(url: str, namespace: str, callers: int, work_seconds: float) -> None:
    computed = 0

    async def work() -> str:
        nonlocal computed
        computed += 1
        await asyncio.sleep(work_seconds)
        return "the value"

    async with Cache(Redis(url), namespace=namespace) as cache:
        await cache.get("warm")
        async with asyncio.timeout(5):
            while not cache._store.coherent:  # noqa: ASYNC110 - no event says so
                await asyncio.sleep(0.01)
        print("ready", flush=True)  # noqa: T201 - this is how it speaks
        await asyncio.to_thread(sys.stdin.readline)
        values = await asyncio.gather(*(cache.get_or_set("hot", work) for _ in range(callers)))
        print(computed, values.count("the value"), flush=True)  # noqa: T201 - see above
        await asyncio.to_thread(sys.stdin.readline)  # what closing sends is not counted


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
