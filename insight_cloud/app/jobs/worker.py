"""Who does the jobs: procrastinate's worker, with our rules for retrying and for the dead.

The library is imported nowhere else, and only when a worker starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from insight_cloud.app.api import Context
from insight_cloud.app.jobs import queue
from insight_cloud.app.jobs.queue import Job
from insight_cloud.app.jobs.queue import queries as statements
from insight_cloud.core.errors import Conflict, InsightError, Unavailable
from insight_cloud.database.sql import Query

if TYPE_CHECKING:
    from procrastinate import App, JobContext
    from procrastinate.manager import JobManager

__all__ = ["Task", "working"]

log = logging.getLogger("insight.jobs")

Task = Callable[[Context, Job], Awaitable[None]]
"""Does one job. It is called again, maybe elsewhere, when its worker dies: it writes its result in
the transaction that ends the job (`finish`). `Unavailable` is tried again a little later, any other
error is final; a `Conflict` is none: somebody else has the job, or nobody wants it any more."""

_QUEUE = "insight"
_AGAIN_SECONDS = 10
_RESTART_SECONDS = 1.0
_GRACE_SECONDS = 5.0


@contextlib.asynccontextmanager
async def working(
    context: Context, tasks: Mapping[str, Task], *, at_once: int = 1
) -> AsyncIterator[None]:
    """Do jobs, `at_once` at a time, until the block ends.

    At the end what runs has five seconds to finish; then it is cancelled, and tried anew by
    another worker. A worker that loses its database starts again when that is back.
    """
    works = [
        asyncio.create_task(_work_for_ever(context, tasks, at_once)),
        asyncio.create_task(_recover_for_ever(context)),
    ]
    try:
        yield
    finally:
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)


async def _work_for_ever(context: Context, tasks: Mapping[str, Task], at_once: int) -> None:
    while True:
        try:
            await _work(context, tasks, at_once)
        except Exception as error:  # noqa: BLE001 - a foreign worker may fail in any way
            log.warning("jobs.worker_failed: %s", error)
        await asyncio.sleep(_RESTART_SECONDS)


def _quiet() -> None:
    """The library tells each step of each job; how a job ended, its task tells better."""
    logging.getLogger("procrastinate").setLevel(logging.WARNING)


async def _work(context: Context, tasks: Mapping[str, Task], at_once: int) -> None:
    wanted, pgbouncer = context.settings.jobs, context.settings.database.pgbouncer
    _quiet()
    async with _app(context, tasks, at_once).open_async() as app:
        await app.run_worker_async(
            queues=[_QUEUE],
            concurrency=at_once,
            install_signal_handlers=False,
            # LISTEN needs a connection of one's own, which PgBouncer does not give.
            listen_notify=not pgbouncer,
            fetch_job_polling_interval=1 if pgbouncer else 5,
            abort_job_polling_interval=1 if pgbouncer else 5,
            shutdown_graceful_timeout=_GRACE_SECONDS,
            update_heartbeat_interval=wanted.heartbeat_seconds,
            stalled_worker_timeout=wanted.stalled_seconds,
        )


def _app(context: Context, tasks: Mapping[str, Task], at_once: int) -> App:
    from procrastinate import App, PsycopgConnector

    pgbouncer = context.settings.database.pgbouncer
    connector = PsycopgConnector(
        conninfo=context.pool.conninfo,
        min_size=1,
        max_size=at_once + 1,
        kwargs={"prepare_threshold": None} if pgbouncer else {},
    )
    app = App(connector=connector)
    app.job_manager = _fenced()(app.connector)
    for name, task in tasks.items():
        done = _done(context, task)
        app.task(name=name, pass_context=True, retry=_strategy(context.settings.jobs.tries))(done)
    return app


def _done(context: Context, task: Task) -> Callable[..., Awaitable[None]]:
    """The library's face of a task of ours."""

    async def do(given: JobContext, **arguments: Any) -> None:
        number = given.job.id
        assert number is not None  # noqa: S101 - it came from the database
        try:
            await task(context, Job(number, given.job.attempts, arguments))
        except Conflict as error:
            log.info("jobs.dropped: %s", error)

    return do


def _fenced() -> type[JobManager]:
    from procrastinate.manager import JobManager

    class Fenced(JobManager):
        """Ends and repeats an attempt, and never a later one that is somebody else's by then.

        The library itself goes by the job's number alone: a worker that was taken for dead
        would end what another one is doing. And a job that its task has ended stays ended.
        """

        async def finish_job(self, job: Any, status: Any, delete_job: bool) -> None:  # noqa: ARG002, FBT001 - the library's signature
            """Note how an attempt ended."""
            await self._ask(statements.end_attempt, job, status=status.value)

        async def retry_job(  # only what our strategy decides: when
            self,
            job: Any,
            retry_at: datetime | None = None,
            priority: int | None = None,  # noqa: ARG002 - the library's signature
            queue: str | None = None,  # noqa: ARG002 - the library's signature
            lock: str | None = None,  # noqa: ARG002 - the library's signature
        ) -> None:
            """Queue it once more."""
            await self._ask(statements.retry_attempt, job, at=retry_at or datetime.now(UTC))

        async def _ask(self, query: Query, job: Any, **values: Any) -> None:
            await self.connector.execute_query_async(
                cast("Any", query.text), number=job.id, attempt=job.attempts, **values
            )

    return Fenced


def _strategy(tries: int) -> Any:
    from procrastinate import BaseRetryStrategy, RetryDecision

    class Ours(BaseRetryStrategy):  # type: ignore[misc, unused-ignore]  # untyped in parts
        """Once more where it may help, and always when we are shut down in the middle."""

        def get_retry_decision(self, *, exception: BaseException, job: Any) -> Any:
            if isinstance(exception, asyncio.CancelledError):
                return RetryDecision()  # a job that was cancelled for good ends all the same
            if isinstance(exception, Unavailable) and job.attempts + 1 < tries:
                seconds = _AGAIN_SECONDS * 2**job.attempts
                return RetryDecision(retry_in={"seconds": seconds})
            return None

    return Ours()


async def _recover_for_ever(context: Context) -> None:
    """Look for jobs of dead workers, several times within what makes a worker a dead one."""
    wanted = context.settings.jobs
    stalled = timedelta(seconds=wanted.stalled_seconds)
    while True:
        try:
            found = await queue.recover(context.pool, stalled=stalled, tries=wanted.tries)
            if found.retried or found.ended:
                log.warning("jobs.recovered: %d again, %d given up", found.retried, found.ended)
        except InsightError as error:
            log.warning("jobs.recover_failed: %s", error)
        await asyncio.sleep(wanted.stalled_seconds / 3)
