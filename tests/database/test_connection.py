from __future__ import annotations

import asyncio

from insight_cloud.database import Pool


async def test_a_lock_is_held_to_the_end_of_its_transaction(pool: Pool) -> None:
    order: list[str] = []

    async def work(name: str, entered: asyncio.Event) -> None:
        async with pool.transaction() as connection:
            entered.set()
            await connection.lock("issues:1")
            order.append(f"{name} begins")
            await connection.fetch_value("select pg_sleep(0.05)")
            order.append(f"{name} ends")

    first, second = asyncio.Event(), asyncio.Event()
    await asyncio.gather(work("first", first), work("second", second))
    assert [entry.split()[1] for entry in order] == ["begins", "ends", "begins", "ends"]


async def test_other_keys_do_not_wait_for_each_other(pool: Pool) -> None:
    async with pool.transaction() as one, pool.transaction() as other:
        await one.lock("a")
        async with asyncio.timeout(2):
            await other.lock("b")
