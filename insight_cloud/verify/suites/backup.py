"""Backups: one can be made, read, restored and compared; and those that should be there are."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

from insight_cloud.backup import Catalogue, Holdings, Job, Programs, create, drill, name_of, verify
from insight_cloud.core import report
from insight_cloud.core.errors import Conflict, InsightError, Missing
from insight_cloud.core.storage import open_store
from insight_cloud.database import embedded
from insight_cloud.verify.asking import Answer, Asker, failed, judged, not_run, passed
from insight_cloud.verify.subject import Subject
from insight_cloud.verify.verification import Status

__all__ = ["run"]

_MOST_AGE = timedelta(hours=26)
_UNFINISHED_AGE = timedelta(days=1)
_LONG_SECONDS = 1800


async def run(subject: Subject, asker: Asker) -> None:
    """Make a backup in a folder of its own, then look at the stores."""
    if subject.database_url is None and subject.backup is None:
        reason = "no database is known: set DATABASE_URL"
        await asker.skip("a backup of the database", reason)
    else:
        async with _own_job(subject) as job:
            await _prove(subject, asker, job)
    if subject.backup is None:
        await asker.skip("the stores", "no stores are known: set backup.stores")
        return
    for store in subject.backup.stores:
        await _look(asker, subject.backup, Catalogue(store, subject.backup.name))


@asynccontextmanager
async def _own_job(subject: Subject) -> AsyncIterator[Job]:
    """The job, with a folder that is gone afterwards in place of its stores."""
    with tempfile.TemporaryDirectory(prefix="insight-verify-") as folder:
        async with open_store(Path(folder).as_uri(), private=True) as store:
            if subject.backup is not None:
                yield replace(subject.backup, stores=(store,), attributes={})
            else:
                url = subject.database_url or ""
                yield Job(name_of(url), url, (store,), programs=Programs(plain=_wheel()))


def _wheel() -> tuple[Path, ...]:
    """The embedded server's programs, for machines without others."""
    try:
        return (embedded.binaries(),)
    except Missing:
        return ()


async def _prove(subject: Subject, asker: Asker, job: Job) -> None:
    catalogue = Catalogue(job.stores[0], job.name)
    made = await asker.ask("a backup can be made", partial(_make, job), seconds=_LONG_SECONDS)
    if made.status != "pass":
        return
    held = (await catalogue.read()).newest_good()
    for check in await verify(job, catalogue, held, level="contents"):
        await asker.ask(_words(check.name), _said(check))

    async def restored() -> Answer:
        if subject.scratch is None:
            return not_run("there is no server to restore into")
        return _of(await drill(job, catalogue, subject.scratch))

    await asker.ask("it is restored on a new server", restored, seconds=_LONG_SECONDS)


async def _make(job: Job) -> Answer:
    try:
        created = await create(job)
    except Missing as error:  # pg_dump is not here, or older than the server
        return not_run(str(error))
    except Conflict as error:
        return Answer("error", str(error))
    except InsightError as error:
        return failed(str(error))
    manifest = created.manifest
    return passed(f"{manifest.rows:,} rows of {len(manifest.tables)} tables")


async def _look(asker: Asker, job: Job, catalogue: Catalogue) -> None:
    """What a store should have."""
    where = catalogue.store.url
    holdings: list[Holdings] = []

    async def readable() -> Answer:
        try:
            holdings.append(await catalogue.read())
        except InsightError as error:
            return failed(str(error))
        return passed(f"{len(holdings[0].backups)} backups")

    await asker.ask(f"{where} can be read", readable)
    if not holdings:
        return
    held = holdings[0]
    await asker.ask(f"{where} has a recent backup", partial(_recent, job, held))
    await asker.ask(f"{where} has no damaged backup", partial(_sound, held))
    await asker.ask(f"{where} has nothing half-written", partial(_finished, job, held))
    await asker.ask(
        f"the newest backup of {where} is as it was written",
        partial(_stored, job, catalogue, held),
        seconds=_LONG_SECONDS,
    )


async def _recent(job: Job, holdings: Holdings) -> Answer:
    try:
        newest = holdings.newest_good()
    except Missing as error:
        return failed(str(error))
    age = job.clock() - newest.at
    answer = passed if age <= _MOST_AGE else failed
    return answer(f"{newest.id} is {age.total_seconds() / 3600:.0f} hours old")


async def _sound(holdings: Holdings) -> Answer:
    return judged([f"{held.id}: {held.problem}" for held in holdings.backups if not held.good])


async def _finished(job: Job, holdings: Holdings) -> Answer:
    old = [u for u in holdings.unfinished if job.clock() - u.newest > _UNFINISHED_AGE]
    return judged([f"{left.id} was never finished" for left in old])


async def _stored(job: Job, catalogue: Catalogue, holdings: Holdings) -> Answer:
    try:
        newest = holdings.newest_good()
    except Missing as error:
        return not_run(str(error))
    checks = await verify(job, catalogue, newest, level="stored")
    return judged([f"{c.name}: {c.detail}" for c in checks if c.status == "fail"], newest.id)


def _said(check: report.Check) -> Callable[[], Awaitable[Answer]]:
    async def question() -> Answer:
        return _of(check)

    return question


def _of(check: report.Check) -> Answer:
    """The same answer in our words; what was skipped was not run."""
    statuses: dict[str, Status] = {"pass": "pass", "warn": "pass", "skip": "not run"}
    return Answer(statuses.get(check.status, "fail"), check.detail)


def _words(name: str) -> str:
    return f"the new backup: {name.removeprefix('backup.')}"
