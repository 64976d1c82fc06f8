"""The jobs that make backups by themselves, for whatever scheduler the machine has. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from insight_cloud.core.errors import SettingsError
from insight_cloud.core.schedule import Job, parse

__all__ = ["GROUP", "jobs"]

GROUP = "backup"


def jobs(
    times: dict[str, str],
    *,
    base: str = "never",
    program: Sequence[str],
    options: Sequence[str] = (),
    directory: Path,
    writes: Sequence[Path] = (),
) -> tuple[Job, ...]:
    """One job for each type with a time, such as `{"daily": "daily 02:00"}`, and for `base`.

    `program` is the command line of `insight`, `options` what its `backup create` is told
    beside the type; after each backup the retention is applied. On a Sunday, the first of a
    month, three are due within two hours: each waits for the one before it.

    Raises:
        SettingsError: a time is none, or nothing would ever run.
    """
    made = tuple(
        Job(
            f"{GROUP}-{type_}",
            (*program, "backup", "create", "--type", type_, "--wait", "--prune", *options),
            parse(when),
            f"Back the database up ({type_})",
            directory=directory,
            writes=tuple(writes),
        )
        for type_, when in times.items()
        if when != "never"
    )
    if base != "never":
        command = (*program, "backup", "base", *options)
        what = "Copy the cluster, for point in time"
        when = parse(base)
        made += (
            Job(f"{GROUP}-base", command, when, what, directory=directory, writes=tuple(writes)),
        )
    if not made:
        raise SettingsError("no backup would ever be made: set backup.daily, weekly or monthly")
    return made
