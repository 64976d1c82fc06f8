"""Jobs as lines of cron, which neither catches up nor keeps runs apart: our own runner does."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from insight_cloud.core.errors import SettingsError
from insight_cloud.core.report import Check
from insight_cloud.core.schedule import runner
from insight_cloud.core.schedule.job import PREFIX, Job, Scope
from insight_cloud.core.schedule.scheduler import (
    Entry,
    Run,
    Scheduler,
    read_file,
    remove_file,
    succeed,
    units_below,
    write_file,
)
from insight_cloud.core.schedule.when import When

__all__ = ["Cron", "times"]

_LINE_LENGTH = 900  # Debian's cron cuts commands at 1,000
_PID_FILES = (Path("/run/crond.pid"), Path("/var/run/cron.pid"))
_BLOCK = re.compile(
    r"^# BEGIN (?P<unit>[a-z0-9-]+) [^\n]*\n(?P<lines>.*?)^# END (?P=unit)\n",
    re.MULTILINE | re.DOTALL,
)


class Cron(Scheduler):
    """Files in `/etc/cron.d` (system scope), or blocks in the user's own table.

    `state` is where the runner keeps when each job ran.
    """

    kind = "cron"

    def __init__(
        self,
        act: Run,
        *,
        scope: Scope,
        state: Path,
        folder: Path = Path("/etc/cron.d"),
        python: str = sys.executable,
    ) -> None:
        self._act = act
        self._scope = scope
        self._folder = folder
        self._state = state
        self._python = python

    def render(self, job: Job) -> Mapping[str, str]:
        """Return the lines: the job at its times, and an hourly look for a missed one."""
        user = [job.user or "root"] if self._scope == "system" else []
        run, catch_up = (
            _escaped(runner.command(job, state=self._state, python=self._python, catch_up=late))
            for late in (False, True)
        )
        lines = [" ".join([times, *user, run]) for times in times(job.when)]
        lines.append(" ".join([_hourly(job), *user, catch_up]))
        if max(map(len, lines)) > _LINE_LENGTH:
            raise SettingsError(
                f"the command of {job.name} is too long for cron; shorten its paths"
            )
        head = f"# BEGIN {job.unit} written by Insight Cloud: {job.when}, missed runs caught up\n"
        text = head + "\n".join(lines) + f"\n# END {job.unit}\n"
        return {self._place(job.unit): text}

    async def read(self, group: str) -> Mapping[str, Entry]:
        """Read the files or the blocks; what cron has read is active."""
        if self._scope == "system":
            units = units_below(self._folder, group, "")
            texts = {unit: read_file(self._folder / unit) or "" for unit in units}
        else:
            start = f"{PREFIX}{group}-"
            texts = {
                block["unit"]: block[0]
                for block in _BLOCK.finditer(await self._table())
                if block["unit"].startswith(start)
            }
        return {
            unit: Entry({self._place(unit): text}, active=True, last=runner.last(self._state, unit))
            for unit, text in texts.items()
        }

    async def write(self, unit: str, texts: Mapping[str, str]) -> None:
        """Write the file, or replace the block and leave every other line as it is."""
        (text,) = texts.values()
        if self._scope == "system":
            write_file(self._folder / unit, text)
            return
        await self._replace(unit, text)

    async def remove(self, unit: str) -> None:
        """Remove the file or the block."""
        if self._scope == "system":
            remove_file(self._folder / unit)
            return
        await self._replace(unit, "")

    async def doubts(self) -> list[Check]:
        """A machine, such as a container, may have cron and never start it."""
        if any(pid.exists() for pid in _PID_FILES):
            return []
        return [Check("schedule.cron", "warn", "cron does not seem to run; start its service")]

    def _place(self, unit: str) -> str:
        return str(self._folder / unit) if self._scope == "system" else f"crontab {unit}"

    async def _table(self) -> str:
        outcome = await self._act(["crontab", "-l"], b"")
        return outcome.stdout.decode("utf-8", "surrogateescape") if outcome.status == 0 else ""

    async def _replace(self, unit: str, text: str) -> None:
        table = await self._table()
        kept = "".join(_without(table, unit))
        if kept and not kept.endswith("\n"):
            kept += "\n"
        new = (kept + text).encode("utf-8", "surrogateescape")
        await succeed(self._act, ["crontab", "-"], new)


def times(when: When) -> list[str]:
    """Return the first five fields of cron's lines."""
    day = "*" if when.day is None else str(when.day)
    weekday = "*" if when.weekday is None else str((when.weekday + 1) % 7)  # cron's 0 is Sunday
    return [f"{moment.minute} {moment.hour} {day} * {weekday}" for moment in when.times]


def _hourly(job: Job) -> str:
    """A minute of its own for each job, and none of its regular ones."""
    taken = {moment.minute for moment in job.when.times}
    start = sum(job.name.encode())
    minute = next(m for m in ((start + n) % 60 for n in range(60)) if m not in taken)
    return f"{minute} * * * *"


def _escaped(command: list[str]) -> str:
    """A shell command line; cron ends it at a percent sign, whatever the quotes."""
    return shlex.join(command).replace("%", "\\%")


def _without(table: str, unit: str) -> list[str]:
    pieces, start = [], 0
    for block in _BLOCK.finditer(table):
        if block["unit"] == unit:
            pieces.append(table[start : block.start()])
            start = block.end()
    return [*pieces, table[start:]]
