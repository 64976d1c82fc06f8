"""Jobs as systemd timers: missed runs are caught up, none overlaps, each is confined."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from insight_cloud.core.report import Check
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
from insight_cloud.core.schedule.when import WEEKDAYS, When

__all__ = ["Systemd", "calendar"]

_ALWAYS = """\
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
UMask=0077
"""
_SYSTEM = """\
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
SystemCallFilter=@system-service
"""
_PLAIN = re.compile(r"[A-Za-z0-9_@/.,:=+-]+")


class Systemd(Scheduler):
    """Timers of the system, or of one user, in `folder` (by default where they belong)."""

    kind = "systemd"

    def __init__(
        self, act: Run, *, scope: Scope, folder: Path | None = None, user: str = ""
    ) -> None:
        own = Path.home() / ".config/systemd/user" if scope == "user" else None
        self._folder = folder or own or Path("/etc/systemd/system")
        self._act = act
        self._scope = scope
        self._user = user
        self._systemctl = ["systemctl", "--user"] if scope == "user" else ["systemctl"]

    def render(self, job: Job) -> Mapping[str, str]:
        """Return the service and the timer by their files."""
        return {
            str(self._folder / f"{job.unit}.service"): self._service(job),
            str(self._folder / f"{job.unit}.timer"): _timer(job),
        }

    async def read(self, group: str) -> Mapping[str, Entry]:
        """Read the unit files, and ask systemd whether the timers are active."""
        return {
            unit: await self._entry(unit) for unit in units_below(self._folder, group, ".timer")
        }

    async def write(self, unit: str, texts: Mapping[str, str]) -> None:
        """Write the unit files, and start the timer anew with them."""
        for place, text in texts.items():
            write_file(Path(place), text)
        await succeed(self._act, [*self._systemctl, "daemon-reload"])
        await succeed(self._act, [*self._systemctl, "enable", f"{unit}.timer"])
        await succeed(self._act, [*self._systemctl, "restart", f"{unit}.timer"])

    async def remove(self, unit: str) -> None:
        """Stop the timer and remove both files. A run that has begun is left to end."""
        await succeed(self._act, [*self._systemctl, "disable", "--now", f"{unit}.timer"])
        for suffix in (".timer", ".service"):
            remove_file(self._folder / f"{unit}{suffix}")
        await succeed(self._act, [*self._systemctl, "daemon-reload"])

    async def doubts(self) -> list[Check]:
        """A user's timers end when the user signs out, unless lingering is on."""
        if self._scope == "system":
            return []
        outcome = await self._act(["loginctl", "show-user", self._user, "--property=Linger"], b"")
        if outcome.stdout.strip() == b"Linger=yes":
            return []
        return [
            Check(
                "schedule.linger",
                "warn",
                f"the jobs stop when {self._user} signs out; run: loginctl enable-linger "
                f"{self._user}",
            )
        ]

    async def _entry(self, unit: str) -> Entry:
        places = [self._folder / f"{unit}{suffix}" for suffix in (".service", ".timer")]
        texts = {str(place): read_file(place) for place in places}
        states = [
            (await self._act([*self._systemctl, question, f"{unit}.timer"], b"")).status
            for question in ("is-enabled", "is-active")
        ]
        return Entry(
            {place: text for place, text in texts.items() if text is not None},
            active=states == [0, 0],
            last=await self._last(unit),
        )

    async def _last(self, unit: str) -> str:
        properties = "--property=ExecMainExitTimestamp,Result"
        outcome = await self._act([*self._systemctl, "show", f"{unit}.service", properties], b"")
        lines = outcome.stdout.decode("utf-8", "replace").splitlines()
        shown = dict(line.split("=", 1) for line in lines if "=" in line)
        moment = shown.get("ExecMainExitTimestamp", "")
        if not moment or moment == "n/a":
            return ""
        result = shown.get("Result", "")
        return f"succeeded, {moment}" if result == "success" else f"failed ({result}), {moment}"

    def _service(self, job: Job) -> str:
        lines = [
            f"# Written by Insight Cloud: {job.when}. What you change here is overwritten.",
            "[Unit]",
            f"Description={_escaped(job.description)}",
            *(
                ["Wants=network-online.target", "After=network-online.target"]
                if self._scope == "system"
                else []
            ),
            "",
            "[Service]",
            "Type=oneshot",
            f"ExecStart={' '.join(map(_quoted, job.command))}",
            *([f"WorkingDirectory={_escaped(str(job.directory))}"] if job.directory else []),
            *([f"User={job.user}"] if job.user and self._scope == "system" else []),
            f"TimeoutStartSec={int(job.limit.total_seconds())}",
            "Nice=10",
            "IOSchedulingPriority=7",
            *_ALWAYS.splitlines(),
        ]
        if self._scope == "system":
            lines += _SYSTEM.splitlines()
            lines += [f"ReadWritePaths={_quoted(f'-{path}')}" for path in job.writes]
        return "\n".join(lines) + "\n"


def _timer(job: Job) -> str:
    lines = [
        f"# Written by Insight Cloud: {job.when}. What you change here is overwritten.",
        "[Unit]",
        f"Description={_escaped(job.description)}: when",
        "",
        "[Timer]",
        *(f"OnCalendar={moment}" for moment in calendar(job.when)),
        "Persistent=true",
        "AccuracySec=1min",
        *([f"RandomizedDelaySec={int(job.delay.total_seconds())}"] if job.delay else []),
        "",
        "[Install]",
        "WantedBy=timers.target",
    ]
    return "\n".join(lines) + "\n"


def calendar(when: When) -> list[str]:
    """Return the values of `OnCalendar`."""
    weekday = "" if when.weekday is None else f"{WEEKDAYS[when.weekday][:3].capitalize()} "
    day = "*" if when.day is None else f"{when.day:02}"
    return [f"{weekday}*-*-{day} {moment:%H:%M}:00" for moment in when.times]


def _escaped(text: str) -> str:
    """A value that is one text: only specifiers mean anything in it."""
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    """One word of a command line or list, as systemd reads it back."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    escaped = escaped.replace("%", "%%").replace("$", "$$")
    return word if _PLAIN.fullmatch(word) else f'"{escaped}"'
