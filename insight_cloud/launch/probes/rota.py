"""Reads who is on call, and finds the gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from insight_cloud.core.errors import Corrupt
from insight_cloud.launch.probes.files import read_document
from insight_cloud.launch.target import NotRun, Target

__all__ = ["read_rota"]


async def read_rota(target: Target, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The hours around the launch that nobody covers, as first person or as backup.

    `file` has `shift` tables: `{from, to, person, backup}`. Looked at are the launch and the
    `hours` after it.
    """
    begin = target.file.about.at
    if begin is None:
        raise NotRun("launch.at is not set in launch.toml, so nobody knows when to be on call")
    data = await read_document(target, parameters)
    shifts = data.get("shift") if isinstance(data, dict) else None
    if not isinstance(shifts, list):
        raise Corrupt(f"{parameters['file']} has no [[shift]]")
    end = begin + timedelta(hours=float(parameters["hours"]))
    first = [_times(one) for one in shifts if one.get("person")]
    second = [
        _times(one) for one in shifts if one.get("backup") and one["backup"] != one.get("person")
    ]
    return {
        "shifts": len(shifts),
        "gaps": _gaps(first, begin, end),
        "gaps_of_backup": _gaps(second, begin, end),
    }


def _times(shift: Mapping[str, Any]) -> tuple[datetime, datetime]:
    try:
        begin, end = (
            one if isinstance(one, datetime) else datetime.fromisoformat(str(one))
            for one in (shift["from"], shift["to"])
        )
    except (KeyError, ValueError) as error:
        raise Corrupt(f"a shift has no `from` or `to` that is a time: {error}") from error
    return _aware(begin), _aware(end)


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _gaps(shifts: Sequence[tuple[datetime, datetime]], begin: datetime, end: datetime) -> list[str]:
    gaps, reached = [], begin
    for start, stop in sorted(shifts):
        if start > reached and reached < end:
            gaps.append(f"{reached.isoformat()} to {min(start, end).isoformat()}")
        reached = max(reached, stop)
    if reached < end:
        gaps.append(f"{reached.isoformat()} to {end.isoformat()}")
    return gaps
