"""Point in time: a base backup and the archive, brought to one moment by PostgreSQL itself.

The result is a data directory that was started, has recovered, and was stopped cleanly. Nothing
of the running cluster is touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import tarfile
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from insight_cloud.backup import load
from insight_cloud.backup.archive import SEGMENT_BYTES, Archived, Log, segment_of, segments_between
from insight_cloud.backup.catalogue import Catalogue
from insight_cloud.backup.child import in_thread
from insight_cloud.backup.job import Job, Report
from insight_cloud.backup.load import Opened
from insight_cloud.backup.programs import Program
from insight_cloud.core import process
from insight_cloud.core.errors import Conflict, Corrupt, Missing, Refused, Unavailable
from insight_cloud.core.report import stopwatch

__all__ = ["Recovered", "recover"]

_READY_SECONDS = 6 * 3600.0
_BURIAL_SECONDS = 60.0
_ENDED_EARLY = "recovery ended before configured recovery target was reached"
_LAST = re.compile(r"last completed transaction was at log time (.+)")
_OVERRIDES = {
    # Whatever the cluster was configured for, here it is alone and speaks to nobody.
    "listen_addresses": "",
    "ssl": "off",
    "archive_mode": "off",
    "hot_standby": "off",
    "external_pid_file": "",
    "shared_preload_libraries": "",
    "primary_conninfo": "",
    "fsync": "on",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_min_messages": "log",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
}


@dataclass(frozen=True, slots=True)
class Recovered:
    """A data directory as it was at one moment."""

    directory: Path
    backup_id: str
    at: datetime
    last_commit: datetime | None
    """The time of the last transaction that is in it, as far as the server says."""
    segments: int
    seconds: float
    version: str


async def recover(
    job: Job,
    catalogue: Catalogue,
    at: datetime,
    directory: Path,
    *,
    uid: int | None = None,
    report: Report = lambda _: None,
) -> Recovered:
    """Bring the cluster as it was at `at` into `directory`, which must not exist yet.

    What was committed until `at` is there, what was committed later is not. `uid` is who the
    server runs as when we are root; the directory belongs to it then.

    Raises:
        Conflict: the directory exists.
        Missing: there is no base backup from before `at`, or no such server program here.
        Refused: `at` lies after the end of the archive; the message says where that is.
        Corrupt: the base backup or a segment is damaged.
    """
    with stopwatch() as watch:
        held = (await catalogue.read()).newest_good(before=at, kind="base")
        backup = await load.opened(catalogue, held.id, job.identity)
        log = Log(catalogue.store, job.name)
        reached = await _end(log, at)
        server = await job.programs.find(
            "postgres", at_least=backup.manifest.server.major, url=job.url, exactly=True
        )
        await backup.prove(job.parallel, report)
        async with _made(Path.cwd() / directory) as made:
            await _unpack(backup, made / "data")
            segments = await _fetch(backup, log, made, job, reached)
            end = await _run(server, made, at, uid)
            shutil.rmtree(made / "wal")
    return Recovered(
        directory / "data",
        held.id,
        at,
        end,
        segments,
        watch.seconds,
        backup.manifest.server.version,
    )


async def _end(log: Log, at: datetime) -> Archived:
    """How far the archive reaches: at least to `at`."""
    reached = await log.reaches()
    if reached is None:
        raise Missing(f"{log.store.url} has no archive: run `insight backup archive`")
    if at > reached.at:
        raise Refused(
            f"the archive in {log.store.url} ends at {reached.at:%Y-%m-%d %H:%M:%S.%f} UTC:"
            " choose that moment or an earlier one"
        )
    return reached


@asynccontextmanager
async def _made(directory: Path) -> AsyncIterator[Path]:
    """A directory that is there afterwards only if everything went well."""
    try:
        await asyncio.to_thread(directory.mkdir, mode=0o700, parents=True)
    except FileExistsError as error:
        raise Conflict(f"{directory} exists: name a directory that does not") from error
    except OSError as error:
        raise Refused(f"cannot make {directory}: {error.strerror}") from error
    try:
        yield directory
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


async def _unpack(backup: Opened, data: Path) -> None:
    (part,) = backup.manifest.parts
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as source, os.fdopen(writer, "wb") as sink:
        extracting = asyncio.ensure_future(asyncio.to_thread(_extract, source, data))
        try:
            await backup.unpack(part, sink.write, source.close)
            await in_thread(sink.close, unblock=source.close)
        except BrokenPipeError:
            pass  # the reader has ended, and says why
        finally:
            with contextlib.suppress(OSError):
                sink.close()
            await asyncio.wait([extracting])
        try:
            extracting.result()
        except (tarfile.TarError, OSError) as error:
            raise Corrupt(f"part {part.name!r} cannot be unpacked: {error}") from error


def _extract(source: Any, data: Path) -> None:
    data.mkdir(mode=0o700)
    with tarfile.open(fileobj=source, mode="r|") as archive:
        archive.extractall(data, filter="data")
    while source.read(65536):  # the padding behind the end, so that the writer can finish
        pass


async def _fetch(backup: Opened, log: Log, made: Path, job: Job, reached: Archived) -> int:
    """Bring the log of the base backup and all that follows; it must have no hole.

    PostgreSQL takes a hole for the end of the log, and would recover to an earlier moment
    without a word.
    """
    manifest = backup.manifest
    assert manifest.start_lsn is not None  # noqa: S101 - a base backup has one
    first = segment_of(manifest.timeline or 1, manifest.start_lsn, SEGMENT_BYTES)
    (made / "wal").mkdir(mode=0o700)
    found = await log.fetch(first, made / "wal", job.identity)
    if not await asyncio.to_thread((made / "wal" / first).exists):
        raise Missing(
            f"the archive in {log.store.url} lacks the segment {first}, with which the base"
            f" backup {manifest.id} begins: the archive must run before base backups are made"
        )
    there = {path.name[8:] for path in await asyncio.to_thread(lambda: [*(made / "wal").iterdir()])}
    for segment in segments_between(manifest.start_lsn, reached.lsn, SEGMENT_BYTES):
        if segment not in there:
            raise Corrupt(
                f"the archive in {log.store.url} has a hole: the segment {segment} is missing,"
                " without which no later moment can be reached"
            )
    return found


async def _run(server: Program, made: Path, at: datetime, uid: int | None) -> datetime | None:
    """Let PostgreSQL recover. An archive whose last commit lies before `at` is used whole."""
    await asyncio.to_thread(_prepare, made, uid)
    said = await _recovered(server, made, uid, target=at)
    if _ENDED_EARLY in said:
        said = await _recovered(server, made, uid, target=None)
    for file in ("recovery.signal", "backup_label.old"):
        (made / "data" / file).unlink(missing_ok=True)
    found = _LAST.findall(said)
    return _time(found[-1]) if found else None


def _time(text: str) -> datetime | None:
    with contextlib.suppress(ValueError):
        return datetime.fromisoformat(text.strip().removesuffix(" UTC")).replace(tzinfo=UTC)
    return None


def _prepare(made: Path, uid: int | None) -> None:
    data = made / "data"
    (data / "recovery.signal").touch()
    (data / "pg_wal" / "archive_status").mkdir(parents=True, exist_ok=True)
    # Debian keeps these elsewhere; a cluster without them does not start.
    for name, text in (("postgresql.conf", ""), ("pg_hba.conf", ""), ("pg_ident.conf", "")):
        if not (data / name).exists():
            (data / name).write_text(f"# not in the backup: configure this cluster\n{text}")
    if uid is not None and os.geteuid() == 0:
        for place, folders, files in os.walk(made):
            for path in (place, *(str(Path(place, name)) for name in (*folders, *files))):
                os.chown(path, uid, uid, follow_symlinks=False)


async def _recovered(
    server: Program, made: Path, uid: int | None, *, target: datetime | None
) -> str:
    """Start the server, wait until it has recovered or failed, stop it; return its words."""
    with tempfile.TemporaryDirectory(prefix="insight-") as sockets:
        identity: dict[str, Any] = {}
        if uid is not None and os.geteuid() == 0:
            os.chown(sockets, uid, uid)
            identity = {"user": uid, "group": uid, "extra_groups": []}
        wal = shlex.quote(str(made / "wal")).replace("%", "%%")
        settings = _OVERRIDES | {
            # A configuration in the backup may name the running cluster's own places.
            "data_directory": str(made / "data"),
            "hba_file": str(made / "data" / "pg_hba.conf"),
            "ident_file": str(made / "data" / "pg_ident.conf"),
            "unix_socket_directories": sockets,
            "restore_command": f"cp {wal}/%f %p",
            "recovery_target_action": "promote",
            "recovery_target_timeline": "latest",
            "recovery_target_inclusive": "on",
        }
        if target is not None:
            settings["recovery_target_time"] = target.astimezone(UTC).isoformat(sep=" ")
        flags = [word for item in settings.items() for word in ("-c", "=".join(item))]
        log = made / "recovery.log"
        with log.open("wb") as out:
            running = await asyncio.to_thread(
                lambda: subprocess.Popen(
                    [server.path, "-D", made / "data", *flags],
                    stdout=out,
                    stderr=out,
                    cwd="/",
                    env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"},
                    start_new_session=True,
                    **identity,
                )
            )
        try:
            await _until_recovered(running, server, sockets)
        finally:
            await asyncio.shield(_stopped(running))
        said = await asyncio.to_thread(log.read_text, "utf-8", "replace")
        if running.returncode != 0 and _ENDED_EARLY not in said:
            faults = [line for line in said.splitlines() if "FATAL" in line or "PANIC" in line]
            what = (faults or said.splitlines()[-2:] or ["it said nothing"])[-1]
            raise Unavailable(f"PostgreSQL did not recover: {what[:500]}")
        return said


async def _until_recovered(running: subprocess.Popen[bytes], server: Program, sockets: str) -> None:
    ready = server.path.with_name("pg_isready")
    limit = asyncio.get_running_loop().time() + _READY_SECONDS
    while running.poll() is None:
        outcome = await process.run([ready, "-q", "-h", sockets], timeout_seconds=30)
        if outcome.status == 0:
            return
        if asyncio.get_running_loop().time() > limit:
            raise Unavailable("PostgreSQL has not recovered in six hours: look at recovery.log")
        await asyncio.sleep(0.1)


async def _stopped(running: subprocess.Popen[bytes]) -> None:
    if running.poll() is None:
        running.send_signal(signal.SIGINT)
        try:
            await asyncio.to_thread(running.wait, _BURIAL_SECONDS)
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGQUIT)
            await asyncio.to_thread(running.wait)
