"""Jobs as macOS launch agents (a user's) and daemons (the system's)."""

from __future__ import annotations

import os
import plistlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from insight_cloud.core.schedule import runner
from insight_cloud.core.schedule.job import Job, Scope
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

__all__ = ["Launchd"]


class Launchd(Scheduler):
    """Property lists in `folder`. The runner catches up what was missed while it was off.

    launchd itself only makes up for what was missed while the machine slept.
    """

    kind = "launchd"

    def __init__(
        self,
        act: Run,
        *,
        scope: Scope,
        state: Path,
        folder: Path | None = None,
        python: str = sys.executable,
    ) -> None:
        own = Path.home() / "Library/LaunchAgents" if scope == "user" else None
        self._folder = folder or own or Path("/Library/LaunchDaemons")
        self._act = act
        self._scope = scope
        self._state = state
        self._python = python
        self._domain = f"gui/{os.getuid()}" if scope == "user" else "system"

    def render(self, job: Job) -> Mapping[str, str]:
        """Return the property list by its file."""
        command = runner.command(job, state=self._state, python=self._python, catch_up=True)
        wanted: dict[str, Any] = {
            "Label": job.unit,
            "ProgramArguments": command,
            "StartCalendarInterval": _calendar(job.when),
            "RunAtLoad": True,  # the runner decides whether a run was missed
            "ProcessType": "Background",
            "LowPriorityIO": True,
            "Nice": 10,
            "Umask": 0o077,
            "StandardOutPath": str(self._state / f"{job.name}.log"),
            "StandardErrorPath": str(self._state / f"{job.name}.log"),
        }
        if job.user and self._scope == "system":
            wanted["UserName"] = job.user
        text = plistlib.dumps(wanted, sort_keys=False).decode()
        return {str(self._folder / f"{job.unit}.plist"): text}

    async def read(self, group: str) -> Mapping[str, Entry]:
        """Read the property lists, and ask launchd which are loaded."""
        found = {}
        for unit in units_below(self._folder, group, ".plist"):
            place = self._folder / f"{unit}.plist"
            outcome = await self._act(["launchctl", "print", f"{self._domain}/{unit}"], b"")
            last = runner.last(self._state, unit)
            found[unit] = Entry({str(place): read_file(place) or ""}, outcome.status == 0, last)
        return found

    async def write(self, unit: str, texts: Mapping[str, str]) -> None:
        """Write the property list and load it in the place of the old one."""
        ((place, text),) = texts.items()
        await self._unload(unit)
        write_file(Path(place), text)
        await succeed(self._act, ["launchctl", "bootstrap", self._domain, place])

    async def remove(self, unit: str) -> None:
        """Unload the job and remove its property list."""
        await self._unload(unit)
        remove_file(self._folder / f"{unit}.plist")

    async def _unload(self, unit: str) -> None:
        """What is not loaded cannot be unloaded, which is no fault."""
        await self._act(["launchctl", "bootout", f"{self._domain}/{unit}"], b"")


def _calendar(when: When) -> list[dict[str, int]]:
    day: dict[str, int] = {}
    if when.day is not None:
        day["Day"] = when.day
    if when.weekday is not None:
        day["Weekday"] = (when.weekday + 1) % 7  # launchd's 0 is Sunday
    return [day | {"Hour": moment.hour, "Minute": moment.minute} for moment in when.times]
