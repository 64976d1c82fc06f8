"""Jobs as tasks of Windows' Task Scheduler, in its folder `Insight`."""

from __future__ import annotations

import csv
import hashlib
import io
import re
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

from insight_cloud.core.schedule.job import PREFIX, Job, Scope
from insight_cloud.core.schedule.scheduler import Entry, Run, Scheduler, succeed
from insight_cloud.core.schedule.when import WEEKDAYS, When

__all__ = ["Windows"]

_SPACE = "http://schemas.microsoft.com/windows/2004/02/mit/task"
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_START = "2026-01-01"  # any day of the past: the first that the trigger may fall on
_LOCAL_SYSTEM = "S-1-5-18"


class Windows(Scheduler):
    """Tasks by `schtasks`. Windows writes them anew, so a fingerprint in them tells them apart."""

    kind = "Windows Task Scheduler"

    def __init__(self, act: Run, *, scope: Scope) -> None:
        self._act = act
        self._scope = scope

    def render(self, job: Job) -> Mapping[str, str]:
        """Return the task's XML."""
        bare = _task(job, self._scope, "")
        fingerprint = hashlib.sha256(bare.encode()).hexdigest()[:16]
        return {_place(job.unit): _task(job, self._scope, fingerprint)}

    async def read(self, group: str) -> Mapping[str, Entry]:
        """List the tasks of our folder, and read each."""
        outcome = await self._act(["schtasks", "/Query", "/fo", "csv", "/nh"], b"")
        rows = csv.reader(io.StringIO(outcome.stdout.decode("utf-8", "replace")))
        start = _place(f"{PREFIX}{group}-")
        found = {}
        for row in rows:
            if len(row) >= 3 and row[0].startswith(start):
                xml = await self._act(["schtasks", "/Query", "/TN", row[0], "/XML"], b"")
                text = _decoded(xml.stdout)
                unit = row[0].rpartition("\\")[2]
                found[unit] = Entry({_place(unit): text}, active=row[2] != "Disabled")
        return found

    async def write(self, unit: str, texts: Mapping[str, str]) -> None:
        """Register the task in the place of the old one."""
        (text,) = texts.values()
        with tempfile.TemporaryDirectory(prefix="insight-") as folder:
            file = Path(folder, "task.xml")
            file.write_text(text, encoding="utf-16")  # noqa: ASYNC240 - a command of one person
            command = ["schtasks", "/Create", "/TN", _place(unit), "/XML", str(file), "/F"]
            await succeed(self._act, command)

    def same(self, found: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
        """Compare the fingerprints: Windows sorts and completes what it was given."""
        return {place: _fingerprint(text) for place, text in found.items()} == {
            place: _fingerprint(text) for place, text in wanted.items()
        }

    async def remove(self, unit: str) -> None:
        """Remove the task."""
        await succeed(self._act, ["schtasks", "/Delete", "/TN", _place(unit), "/F"])


def _place(unit: str) -> str:
    return f"\\Insight\\{unit}"


def _fingerprint(text: str) -> str:
    found = re.search(r"<Documentation>fingerprint ([0-9a-f]{16})</Documentation>", text)
    return found[1] if found else text


def _decoded(output: bytes) -> str:
    """`schtasks` answers in UTF-16 to some and in the console's code page to others."""
    encoding = "utf-16" if output[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8"
    return output.decode(encoding, "replace")


def _task(job: Job, scope: Scope, fingerprint: str) -> str:
    """The task in the order of elements that the Task Scheduler's schema demands."""
    task = ET.Element("Task", version="1.2", xmlns=_SPACE)
    about = ET.SubElement(task, "RegistrationInfo")
    _add(about, "Author", "Insight Cloud")
    _add(about, "Description", job.description)
    _add(about, "Documentation", f"fingerprint {fingerprint}")
    triggers = ET.SubElement(task, "Triggers")
    for moment in job.when.times:
        trigger = ET.SubElement(triggers, "CalendarTrigger")
        _add(trigger, "StartBoundary", f"{_START}T{moment:%H:%M}:00")
        if job.delay:
            _add(trigger, "RandomDelay", f"PT{int(job.delay.total_seconds())}S")
        _schedule(trigger, job.when)
    principal = ET.SubElement(ET.SubElement(task, "Principals"), "Principal", id="Author")
    if scope == "system":
        _add(principal, "UserId", job.user or _LOCAL_SYSTEM)
    else:
        _add(principal, "LogonType", "InteractiveToken")
    _add(principal, "RunLevel", "LeastPrivilege")
    _settings(task, job)
    action = ET.SubElement(ET.SubElement(task, "Actions", Context="Author"), "Exec")
    _add(action, "Command", job.command[0])
    if job.command[1:]:
        _add(action, "Arguments", subprocess.list2cmdline(job.command[1:]))
    if job.directory:
        _add(action, "WorkingDirectory", str(job.directory))
    ET.indent(task)
    return '<?xml version="1.0" encoding="UTF-16"?>\n' + ET.tostring(task, "unicode") + "\n"


def _settings(task: ET.Element, job: Job) -> None:
    settings = ET.SubElement(task, "Settings")
    _add(settings, "DisallowStartIfOnBatteries", "false")
    _add(settings, "StopIfGoingOnBatteries", "false")
    _add(settings, "MultipleInstancesPolicy", "IgnoreNew")
    _add(settings, "StartWhenAvailable", "true")
    _add(settings, "ExecutionTimeLimit", f"PT{int(job.limit.total_seconds())}S")
    _add(settings, "Priority", "7")


def _schedule(trigger: ET.Element, when: When) -> None:
    if when.weekday is not None:
        week = ET.SubElement(trigger, "ScheduleByWeek")
        _add(week, "WeeksInterval", "1")
        ET.SubElement(ET.SubElement(week, "DaysOfWeek"), WEEKDAYS[when.weekday].capitalize())
    elif when.day is not None:
        month = ET.SubElement(trigger, "ScheduleByMonth")
        _add(ET.SubElement(month, "DaysOfMonth"), "Day", str(when.day))
        months = ET.SubElement(month, "Months")
        for name in _MONTHS:
            ET.SubElement(months, name)
    else:
        _add(ET.SubElement(trigger, "ScheduleByDay"), "DaysInterval", "1")


def _add(parent: ET.Element, name: str, text: str) -> None:
    ET.SubElement(parent, name).text = text
