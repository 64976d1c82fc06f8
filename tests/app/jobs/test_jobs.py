"""The queue on a real database, with workers in processes of their own that are killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from insight_cloud.app import jobs
from insight_cloud.app.api import Context
from insight_cloud.app.jobs import Job, queue, schema
from insight_cloud.core.errors import Conflict, InsightError, Unavailable
from insight_cloud.database import Pool
from insight_cloud.settings import JobsSettings, Settings
from tests.app.jobs import hand

JOBS = int(os.environ.get("TESTS_JOBS", "200"))
KILLS = int(os.environ.get("TESTS_KILLS", "2"))
"""The whole promise is TESTS_JOBS=1000 TESTS_KILLS=5; the build server proves a part of it."""

ROOT = Path(__file__).parents[3]


@pytest.fixture
def context(pool: Pool) -> Context:
    """A context whose workers are taken for dead after three seconds."""
    return Context(pool, hand.SETTINGS)


async def put(context: Context, task: str = "note", **arguments: Any) -> int:
    """Queue one job."""
    async with context.pool.transaction() as db:
        return await jobs.defer(db, task, **arguments)


async def until(true: Callable[[], Awaitable[bool]], *, seconds: float = 60) -> None:
    """Wait for something that must come."""
    async with asyncio.timeout(seconds):
        while not await true():  # noqa: ASYNC110 - another process sets no event of ours
            await asyncio.sleep(0.05)


async def state(context: Context, number: int) -> str:
    """How a job stands."""
    found: str = await context.pool.fetch_value(
        "select status::text from procrastinate_jobs where id = %(number)s", number=number
    )
    return found


def ended(context: Context, number: int, how: str) -> Callable[[], Awaitable[bool]]:
    """Whether a job has ended as it should."""

    async def check() -> bool:
        return await state(context, number) == how

    return check


async def test_a_job_is_done_once_with_its_arguments(context: Context) -> None:
    seen: list[Job] = []

    async def note(_: Context, job: Job) -> None:
        seen.append(job)

    number = await put(context, source=7, name="a")
    async with jobs.working(context, {"note": note}):
        await until(ended(context, number, "succeeded"))
    assert seen == [Job(number, 0, {"source": 7, "name": "a"})]


async def test_a_job_of_a_transaction_that_is_rolled_back_does_not_exist(context: Context) -> None:
    with contextlib.suppress(RuntimeError):
        async with context.pool.transaction() as db:
            await jobs.defer(db, "note")
            raise RuntimeError
    assert await jobs.counts(context) == jobs.Counts(0, 0, 0)


async def test_an_outage_is_tried_again_and_any_other_error_is_final(context: Context) -> None:
    async def away(_: Context, __: Job) -> None:
        raise Unavailable("the disk is full")

    async def broken(_: Context, __: Job) -> None:
        raise ValueError("no")

    first, second = await put(context, "away"), await put(context, "broken")
    async with jobs.working(context, {"away": away, "broken": broken}):
        await until(ended(context, second, "failed"))
        await until(ended(context, first, "todo"))
    waits = await context.pool.fetch_value(
        "select scheduled_at > now() from procrastinate_jobs where id = %(id)s", id=first
    )
    assert waits is True


async def test_an_outage_is_given_up_after_the_tries(pool: Pool) -> None:
    context = Context(pool, Settings(jobs=JobsSettings(tries=1)))

    async def away(_: Context, __: Job) -> None:
        raise Unavailable("still full")

    number = await put(context, "away")
    async with jobs.working(context, {"away": away}):
        await until(ended(context, number, "failed"))


async def test_a_job_is_cancelled_before_and_while_it_runs(context: Context) -> None:
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def wait(_: Context, __: Job) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.set()
            raise

    waiting = await put(context, "wait")
    async with context.pool.transaction() as db:
        assert await jobs.cancel(db, waiting)
    assert await state(context, waiting) == "cancelled"
    running = await put(context, "wait")
    async with jobs.working(context, {"wait": wait}):
        await asyncio.wait_for(begun.wait(), 30)
        async with context.pool.transaction() as db:
            assert await jobs.cancel(db, running)
        await asyncio.wait_for(stopped.wait(), 30)

        async def over() -> bool:
            return await state(context, running) in {"failed", "aborted"}

        await until(over)
    async with context.pool.transaction() as db:
        assert not await jobs.cancel(db, running)


async def test_a_job_is_finished_by_its_present_attempt_only(context: Context) -> None:
    number = await put(context)
    job = Job(number, 0)

    async def finishes(job: Job) -> bool:
        try:
            async with context.pool.transaction() as db:
                await jobs.finish(db, job)
                await db.execute("select 1 / 0")  # nothing of it stays
        except Conflict:
            return False
        except InsightError:
            return True
        return True

    assert not await finishes(job)  # nobody has begun it
    await _begin(context)
    assert await finishes(job)
    again = await jobs.recover(context.pool, stalled=timedelta(seconds=3), tries=3)
    assert again == queue.Recovered(1, 0)
    assert not await finishes(job)
    await _begin(context)
    assert not await finishes(job)
    assert await finishes(Job(number, 1))
    async with context.pool.transaction() as db:
        await jobs.cancel(db, number)
    assert not await finishes(Job(number, 1))


async def test_a_job_that_ended_with_its_result_stays_ended(context: Context) -> None:
    """Also where its worker dies in between, or fails afterwards."""

    async def write(context: Context, job: Job) -> None:
        async with context.pool.transaction() as db:
            await jobs.finish(db, job)
        raise Unavailable("too late")

    number, other = await put(context, "write"), await put(context, "write")
    async with jobs.working(context, {"write": write}):
        await until(ended(context, other, "succeeded"))
    assert await state(context, number) == "succeeded"
    found = await jobs.recover(context.pool, stalled=timedelta(seconds=3), tries=3)
    assert found == queue.Recovered(0, 0)


async def test_a_worker_that_was_taken_for_dead_ends_nothing_of_others(context: Context) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow(_: Context, __: Job) -> None:
        begun.set()
        await go.wait()

    number = await put(context, "slow")
    async with jobs.working(context, {"slow": slow}):
        await asyncio.wait_for(begun.wait(), 30)
        await context.pool.execute("delete from procrastinate_workers")  # taken for dead
        await jobs.recover(context.pool, stalled=timedelta(seconds=3), tries=3)
        await context.pool.execute(  # and given to another, who is alive
            "select procrastinate_fetch_job_v2(null, worker_id)"
            " from procrastinate_register_worker_v1()"
        )
        go.set()
        other = await put(context, "slow")
        await until(ended(context, other, "succeeded"))
    assert await state(context, number) == "doing"


async def _begin(context: Context) -> None:
    """Take a job as a worker that is dead already."""
    await context.pool.execute("select procrastinate_fetch_job_v2(null, null)")


async def test_what_kills_every_worker_is_given_up(context: Context) -> None:
    number = await put(context)
    for expected in (queue.Recovered(1, 0), queue.Recovered(1, 0), queue.Recovered(0, 1)):
        await _begin(context)
        found = await jobs.recover(context.pool, stalled=timedelta(seconds=3), tries=3)
        assert found == expected
    assert await state(context, number) == "failed"


async def test_a_job_of_a_living_worker_is_left_alone(context: Context) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def wait(_: Context, __: Job) -> None:
        begun.set()
        await go.wait()

    number = await put(context, "wait")
    async with jobs.working(context, {"wait": wait}):
        await asyncio.wait_for(begun.wait(), 30)
        found = await jobs.recover(context.pool, stalled=timedelta(seconds=60), tries=3)
        assert found == queue.Recovered(0, 0)
        assert (await jobs.counts(context)).workers == 1
        go.set()
        await until(ended(context, number, "succeeded"))


async def test_health_says_when_nobody_works(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "_BEGUN", monotonic())
    (check,) = await jobs.check(context)
    assert check.status == "pass"  # the process has just begun
    monkeypatch.setattr(queue, "_BEGUN", monotonic() - 31)
    (check,) = await jobs.check(context)
    assert (check.status, "insight worker" in check.detail) == ("warn", True)

    async def somebody() -> bool:
        return (await jobs.check(context))[0].status == "pass"

    async with jobs.working(context, {}):
        await until(somebody)


async def test_what_has_ended_is_forgotten_after_a_while(context: Context) -> None:
    number = await put(context)
    async with context.pool.transaction() as db:
        await jobs.cancel(db, number)
    assert await jobs.clean(context) == 0
    later = Context(context.pool, context.settings, now=lambda: context.now() + timedelta(days=8))
    assert await jobs.clean(later) == 1


async def test_the_tables_are_made_once(database_url: str) -> None:
    async with Pool(database_url, min_size=1, max_size=3) as pool:
        assert len(await schema.plan(pool)) == 1
        done = await asyncio.gather(schema.apply(pool), schema.apply(pool))
        assert sorted(map(len, done)) == [0, 1]
        assert not await schema.plan(pool)
        await pool.execute(
            "delete from queue_schema where name = (select max(name) from queue_schema)"
        )
        assert len(await schema.plan(pool)) == 1  # as after an update of the library


# -- workers that are killed -----------------------------------------------------------------


@contextlib.asynccontextmanager
async def hands(url: str, count: int) -> AsyncIterator[Hands]:
    """Workers in processes of their own."""
    ours = Hands(url)
    try:
        await asyncio.gather(*(ours.add() for _ in range(count)))
        yield ours
    finally:
        for one in ours.processes:
            with contextlib.suppress(ProcessLookupError):
                one.kill()
            await one.wait()


class Hands:
    """Processes that work, and can be killed."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.processes: list[asyncio.subprocess.Process] = []

    async def add(self) -> None:
        """Start one more, and wait until it works."""
        one = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.app.jobs.hand", self._url),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        self.processes.append(one)
        assert one.stdout is not None
        assert await one.stdout.readline() == b"working\n"

    async def kill_one(self) -> None:
        """Kill the oldest, in the middle of whatever it does, and start another one."""
        victim = self.processes.pop(0)
        victim.send_signal(signal.SIGKILL)
        await victim.wait()
        await self.add()


async def _tables(pool: Pool) -> None:
    await pool.execute("create table effects (n integer)")
    await pool.execute("create table begun (n integer)")


@pytest.mark.timeout(120 + JOBS)
async def test_no_job_is_lost_and_none_takes_effect_twice(context: Context) -> None:
    await _tables(context.pool)
    async with context.pool.transaction() as db:
        for n in range(JOBS):
            await jobs.defer(db, "write", n=n, seconds=0.02)
    marks = sorted(random.sample(range(JOBS // 10, JOBS * 9 // 10), KILLS))

    def reached(mark: int) -> Callable[[], Awaitable[bool]]:
        async def check() -> bool:
            done: int = await context.pool.fetch_value("select count(*) from effects")
            return done >= mark

        return check

    async with hands(context.pool.conninfo, 2) as ours:
        for mark in marks:
            await until(reached(mark), seconds=60 + JOBS)
            await ours.kill_one()
        await until(reached(JOBS), seconds=60 + JOBS)
        await until(lambda: _idle(context))
    effects: Sequence[int] = await context.pool.fetch_all("select n from effects order by n", int)
    assert list(effects) == list(range(JOBS))


async def _idle(context: Context) -> bool:
    now = await jobs.counts(context)
    return now.waiting == now.running == 0


async def test_a_killed_workers_job_ends_elsewhere(context: Context) -> None:
    await _tables(context.pool)

    async def begun() -> bool:
        return bool(await context.pool.fetch_value("select count(*) from begun"))

    async with hands(context.pool.conninfo, 1) as ours:
        number = await put(context, "write", n=1, seconds=2)
        await until(begun)
        await ours.kill_one()
        await until(ended(context, number, "succeeded"))
    assert await context.pool.fetch_all("select n from effects", int) == [1]
    assert await context.pool.fetch_all("select n from begun", int) == [1, 1]
