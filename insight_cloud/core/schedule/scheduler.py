"""What a scheduler is to us, and the three steps over all of them: plan, apply, check."""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from insight_cloud.core import process
from insight_cloud.core.errors import Refused, Unavailable
from insight_cloud.core.plan import Change, Plan
from insight_cloud.core.report import Check
from insight_cloud.core.schedule.job import PREFIX, Job

__all__ = ["Entry", "Run", "Scheduler", "apply", "check", "plan", "run", "write_file"]

Run = Callable[[Sequence[str], bytes], Awaitable[process.Outcome]]
"""Runs a command with this standard input: the only way in which a scheduler is spoken to."""

_COMMAND_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Entry:
    """What is installed of a job: its texts by their place, and whether it will run.

    `last` says how it ended the last time, where that is known.
    """

    texts: Mapping[str, str]
    active: bool
    last: str = ""


class Scheduler(ABC):
    """systemd, cron, launchd or Windows' Task Scheduler; `kind` is its name for people."""

    kind: str

    @abstractmethod
    def render(self, job: Job) -> Mapping[str, str]:
        """Return the texts that describe a job to this scheduler, by their place. Pure."""

    @abstractmethod
    async def read(self, group: str) -> Mapping[str, Entry]:
        """Return what is installed of a group of jobs, by `Job.unit`."""

    @abstractmethod
    async def write(self, unit: str, texts: Mapping[str, str]) -> None:
        """Install or replace one job, and start to keep its times."""

    @abstractmethod
    async def remove(self, unit: str) -> None:
        """Remove one job."""

    def same(self, found: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
        """Whether what is installed is what `render` gives."""
        return found == wanted

    async def doubts(self) -> list[Check]:
        """Say why installed jobs might not run all the same."""
        return []


def plan(scheduler: Scheduler, jobs: Iterable[Job], found: Mapping[str, Entry]) -> Plan:
    """Return what to change so that exactly `jobs` are installed of their group."""
    wanted = {job.unit: job for job in jobs}
    changes = [
        change
        for unit, job in wanted.items()
        if (change := _change(scheduler, job, found.get(unit))) is not None
    ]
    changes += [
        Change("delete", unit, before=dict(entry.texts), reason="not wanted any more")
        for unit, entry in found.items()
        if unit not in wanted
    ]
    return Plan(tuple(changes))


def _change(scheduler: Scheduler, job: Job, entry: Entry | None) -> Change | None:
    texts = dict(scheduler.render(job))
    if entry is None:
        return Change("create", job.unit, after=texts, reason=str(job.when))
    if not scheduler.same(entry.texts, texts):
        return Change("update", job.unit, dict(entry.texts), texts, f"changed: {job.when}")
    if not entry.active:
        return Change("update", job.unit, dict(entry.texts), texts, "installed, but not active")
    return None


async def apply(scheduler: Scheduler, changes: Plan) -> None:
    """Carry out a plan, one job after the other; what is done when it fails stays done."""
    for change in changes:
        if change.verb == "delete":
            await scheduler.remove(change.target)
        else:
            await scheduler.write(change.target, change.after)


async def check(
    scheduler: Scheduler, group: str, jobs: Iterable[Job], now: datetime
) -> list[Check]:
    """Say of each wanted job whether it is installed and when it runs next."""
    found = await scheduler.read(group)
    checks = [_judge(scheduler, job, found.get(job.unit), now) for job in jobs]
    return checks + (await scheduler.doubts() if found else [])


def _judge(scheduler: Scheduler, job: Job, entry: Entry | None, now: datetime) -> Check:
    name = f"schedule.{job.name}"
    if entry is None:
        return Check(name, "fail", f"not installed with {scheduler.kind}")
    if not entry.active:
        return Check(name, "fail", f"installed with {scheduler.kind}, but not active")
    if not scheduler.same(entry.texts, scheduler.render(job)):
        return Check(name, "warn", f"installed with {scheduler.kind}, but not as wanted now")
    following = job.when.following(now).astimezone()
    detail = f"{job.when} by {scheduler.kind}, next {following:%Y-%m-%d %H:%M}"
    if entry.last and not entry.last.startswith("succeeded"):
        return Check(name, "warn", f"{detail}; the last run {entry.last}")
    return Check(name, "pass", f"{detail}; the last run {entry.last}" if entry.last else detail)


async def run(command: Sequence[str], stdin: bytes = b"") -> process.Outcome:
    """Run a command of this system; the usual `Run`."""
    return await process.run(command, timeout_seconds=_COMMAND_SECONDS, stdin=stdin)


async def succeed(act: Run, command: Sequence[str], stdin: bytes = b"") -> bytes:
    """Run a command that must succeed, and return its output."""
    outcome = await act(command, stdin)
    if outcome.status == 0:
        return outcome.stdout
    said = outcome.stderr_tail or f"exit status {outcome.status}"
    raise Unavailable(f"{' '.join(command)}: {said}")


def units_below(folder: Path, group: str, suffix: str) -> list[str]:
    """Name the units of a group whose file lies in `folder`."""
    start = f"{PREFIX}{group}-"
    try:
        names = sorted(file.name for file in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [n.removesuffix(suffix) for n in names if n.startswith(start) and n.endswith(suffix)]


def read_file(path: Path) -> str | None:
    """Return a file's text, or None."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeError) as error:
        raise Refused(f"cannot read {path}: {error}") from error


def write_file(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file wholly or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(mode)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise Refused(f"cannot write {path}: {error.strerror}; are you the right user?") from error


def remove_file(path: Path) -> None:
    """Remove a file that may be gone."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise Refused(f"cannot remove {path}: {error.strerror}") from error
