"""Verifying a backup where it lies: by hashes, by unpacking it, by restoring it.

Each level contains the ones before it. What is found is remembered beside the backup: one that
failed is not restored from by itself, and does not count for the retention.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Literal, TypeAlias

from insight_cloud.backup import load, postgres
from insight_cloud.backup.catalogue import Catalogue, Held
from insight_cloud.backup.child import Child, access
from insight_cloud.backup.job import Job, Report
from insight_cloud.backup.load import Opened
from insight_cloud.backup.manifest import Manifest, Part
from insight_cloud.backup.programs import Program
from insight_cloud.backup.staged import maintenance, staged
from insight_cloud.backup.tasks import together
from insight_cloud.core.errors import Corrupt, InsightError, Missing, Refused
from insight_cloud.core.report import Check, stopwatch

__all__ = ["Level", "verify"]

Level: TypeAlias = Literal["stored", "contents", "restore"]
_ARCHIVES = {"pre-data", "data", "post-data"}


@dataclass(frozen=True)
class _Subject:
    """What is being verified, and with what."""

    job: Job
    catalogue: Catalogue
    held: Held
    manifest: Manifest
    server: str
    report: Report


async def verify(
    job: Job,
    catalogue: Catalogue,
    held: Held,
    *,
    level: Level = "contents",
    server: str | None = None,
    report: Report = lambda _: None,
) -> list[Check]:
    """Verify one backup in one store.

    `stored` reads every part back and compares its SHA-256; `contents` also decrypts, unpacks
    and reads every archive to its end by pg_restore; `restore` also restores it into a scratch
    database on `server` (the job's own by default) and counts the rows of every table. What
    cannot be done, for example without the key, is skipped with the reason; it is not passed.
    """
    if held.manifest is None:
        return [Check("backup.manifest", "fail", held.problem or "the manifest is not readable")]
    subject = _Subject(job, catalogue, held, held.manifest, server or job.url, report)
    checks = [_listed(held.manifest), await _stored(subject)]
    if checks[-1].status == "pass" and level != "stored":
        checks += await _opened(subject, level)
    await _remember(subject, checks)
    return checks


def _listed(manifest: Manifest) -> Check:
    detail = f"{len(manifest.parts)} parts, {manifest.stored_bytes:,} bytes"
    return Check("backup.manifest", "pass", detail)


async def _stored(subject: _Subject) -> Check:
    backup = Opened(subject.catalogue, subject.manifest, None)
    with stopwatch() as watch:
        try:
            await backup.prove(subject.job.parallel, subject.report)
        except InsightError as error:
            return Check("backup.stored", _status(error), str(error), watch.seconds)
    detail = f"{subject.manifest.stored_bytes:,} bytes read back, every SHA-256 as written"
    return Check("backup.stored", "pass", detail, watch.seconds)


def _status(error: InsightError) -> Literal["fail", "skip"]:
    """A store that is away says nothing about the backup."""
    return "fail" if isinstance(error, Corrupt | Missing) else "skip"


async def _opened(subject: _Subject, level: Level) -> list[Check]:
    with stopwatch() as watch:
        try:
            backup = await load.opened(subject.catalogue, subject.held.id, subject.job.identity)
        except InsightError as error:
            return [Check("backup.contents", _status(error), str(error), watch.seconds)]
        checks = [await _contents(subject.job, backup)]
    if checks[-1].status != "fail" and level == "restore":
        checks.append(await _restore(subject, backup))
    return checks


async def _contents(job: Job, backup: Opened) -> Check:
    gate = asyncio.Semaphore(job.parallel)
    with stopwatch() as watch:
        try:
            program = await job.programs.find(
                "pg_restore", at_least=load.dump_major(backup.manifest), url=job.url
            )

            async def one(part: Part) -> None:
                async with gate:
                    await _read(backup, part, program, job.url)

            await together(*(one(part) for part in backup.manifest.parts))
        except InsightError as error:
            return Check("backup.contents", _status(error), str(error), watch.seconds)
    raw = sum(part.raw_bytes for part in backup.manifest.parts)
    detail = f"{raw:,} bytes unpacked, every archive read to its end"
    return Check("backup.contents", "pass", detail, watch.seconds)


async def _read(backup: Opened, part: Part, program: Program, url: str) -> None:
    """Unpack a part; let pg_restore read an archive whole, which `--list` would not."""
    if part.content not in _ARCHIVES:
        await backup.unpack(part, lambda _: None, lambda: None)
        return
    with access(url) as reach:
        words = ["--file=/dev/null"]
        async with Child(program.path, words, reach, stdin=True) as child:
            with contextlib.suppress(BrokenPipeError):  # it has ended; its status says how
                await backup.unpack(part, child.write, child.kill)
            child.end_input()
            status = await child.finish()
            if status != 0:
                raise Corrupt(f"part {part.name!r} is no readable archive: {child.said[:300]}")


async def _restore(subject: _Subject, backup: Opened) -> Check:
    job, manifest, server = subject.job, subject.manifest, subject.server
    if manifest.kind == "base":
        return Check("backup.restore", "skip", "a whole cluster: try `restore --at` for it")
    with stopwatch() as watch:
        try:
            async with (
                maintenance(server) as link,
                staged(link, manifest.server.database, manifest.server) as name,
            ):
                await load.fill(
                    backup,
                    server,
                    name,
                    programs=job.programs,
                    parallel=job.parallel,
                    report=subject.report,
                )
                async with postgres.connected(server, database=name) as scratch:
                    problems = await load.compare(scratch, manifest)
        except InsightError as error:
            return Check("backup.restore", "fail", str(error), watch.seconds)
    if problems:
        return Check("backup.restore", "fail", "; ".join(problems[:5]), watch.seconds)
    detail = f"{manifest.rows:,} rows of {len(manifest.tables)} tables, as they were backed up"
    return Check("backup.restore", "pass", detail, watch.seconds)


async def _remember(subject: _Subject, checks: list[Check]) -> None:
    """Mark a damaged backup; take the mark off one that has been read back whole.

    A restore can fail for the server's sake, so it alone marks nothing.
    """
    damaged = [each for each in checks if each.status == "fail" and each.name != "backup.restore"]
    problem = damaged[0].detail if damaged else None
    whole = any(each.status == "pass" and each.name == "backup.stored" for each in checks)
    if problem is None and (subject.held.good or not whole):
        return
    # A store that we may only read is no obstacle: the report says it all the same.
    with contextlib.suppress(Refused):
        await subject.catalogue.mark(subject.held.id, problem, subject.job.clock())
