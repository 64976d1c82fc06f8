"""A job: a command and when to run it, checked before any scheduler sees it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Literal

from insight_cloud.core.errors import SettingsError
from insight_cloud.core.schedule.when import When

__all__ = ["PREFIX", "Job", "Scope"]

PREFIX = "insight-"
"""How everything that we install is called; what is called otherwise is never touched."""

Scope = Literal["system", "user"]

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)+")
_NAME_LENGTH = 60
_PASSWORD = re.compile(r"://[^/\s:@]*:[^/\s@]+@")


@dataclass(frozen=True, slots=True)
class Job:
    """`command` is run at `when`.

    `name` is `GROUP-REST`, as in `backup-daily`; all jobs of a group are installed together.
    `directory` is where the command runs, so that it finds `insight.toml` there: secrets stand
    in that file, never here. `writes` are directories that it writes into (all others are
    read-only where the scheduler can arrange it), `user` who it runs as (system scope), `delay`
    the most that its start is put off at random, `limit` how long it may take.

    Raises:
        SettingsError: a part of it cannot be written down safely for every scheduler.
    """

    name: str
    command: tuple[str, ...]
    when: When
    description: str
    directory: Path | None = None
    writes: tuple[Path, ...] = ()
    user: str | None = None
    delay: timedelta = timedelta(0)
    limit: timedelta = timedelta(hours=6)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or len(self.name) > _NAME_LENGTH:
            raise SettingsError(f"a job's name is GROUP-REST in small letters, not {self.name!r}")
        if not self.command or not _is_absolute(self.command[0]):
            raise SettingsError(f"the command of {self.name} must begin with an absolute path")
        paths = (*self.writes, *([self.directory] if self.directory else []))
        if not all(_is_absolute(path) for path in paths):
            raise SettingsError(f"the directories of {self.name} must be absolute paths")
        texts = (*self.command, self.description, self.user or "", *map(str, paths))
        if any(not text.isprintable() for text in texts):
            raise SettingsError(f"{self.name} has line breaks or control characters in its command")
        if any(_PASSWORD.search(text) for text in self.command):
            raise SettingsError(
                f"the command of {self.name} holds a URL with a password, which everybody could "
                "read; put it into insight.toml"
            )
        if self.user is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*\$?", self.user):
            raise SettingsError(f"{self.user!r} is no user's name")
        if self.limit < timedelta(minutes=1) or self.delay < timedelta(0):
            raise SettingsError(f"the time limit of {self.name} is under a minute")

    @property
    def unit(self) -> str:
        """What the scheduler calls it."""
        return PREFIX + self.name


def _is_absolute(path: str | PurePath) -> bool:
    return PurePosixPath(path).is_absolute() or PureWindowsPath(path).is_absolute()
