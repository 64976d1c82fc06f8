"""The page for the launch room: one HTML file without scripts, to be opened anywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import jinja2

from insight_cloud.launch import rollback
from insight_cloud.launch.file import LaunchFile
from insight_cloud.launch.gate import Change, Standing, State, verdict
from insight_cloud.launch.items import PHASES
from insight_cloud.launch.run import Run

__all__ = ["WORDS", "draw", "timeline"]

WORDS: Mapping[State, str] = {
    "fail": "failed",
    "error": "no answer",
    "not_run": "not run",
    "unsigned": "to be signed",
    "waived": "waived",
    "signed": "signed",
    "not_applicable": "not applicable",
    "pass": "passed",
}
"""The states, the worst first, and what people call them."""

_ORDER = list(WORDS)


def draw(
    run: Run,
    standings: Sequence[Standing],
    *,
    file: LaunchFile,
    changed: Iterable[Change],
    known: Mapping[str, Any],
    now: datetime,
    refresh_seconds: int | None = None,
) -> str:
    """Draw the page. `known` fills the messages; with `refresh_seconds` it loads itself anew."""
    counts = Counter(one.state for one in standings)
    return _template().render(
        run=run,
        now=now,
        verdict=verdict(standings),
        counts=[(state, WORDS[state], counts[state]) for state in _ORDER if counts[state]],
        total=len(standings),
        open=sorted((one for one in standings if one.blocks), key=_urgency),
        timeline=timeline(run, standings, file, now),
        sections=_sections(standings),
        words=WORDS,
        changed=list(changed),
        contacts=file.contacts,
        messages=[(one, *rollback.message(one, known)) for one in file.messages],
        owner=file.rollback.owner,
        triggers=file.rollback.triggers,
        steps=list(rollback.plan(file, known)) if file.rollback.steps else [],
        refresh_seconds=refresh_seconds,
    )


def timeline(
    run: Run, standings: Iterable[Standing], file: LaunchFile, now: datetime
) -> list[dict[str, Any]]:
    """The moments from T-48h to T+48h: what is due, how it stands, which messages are sent."""
    moments: dict[float, list[Standing]] = {}
    for one in standings:
        moments.setdefault(one.answer.at, []).append(one)
    for message in file.messages:
        if message.at is not None:
            moments.setdefault(message.at, [])
    moments.setdefault(0.0, [])
    begin = run.launch_at
    places = []
    for at in sorted(moments):
        counts = Counter(one.state for one in moments[at])
        places.append(
            {
                "label": "T-0" if at == 0 else f"T{at:+g}h",
                "when": None if begin is None else begin + timedelta(hours=at),
                "past": begin is not None and now >= begin + timedelta(hours=at),
                "sections": list(dict.fromkeys(one.answer.section for one in moments[at])),
                "counts": [
                    (state, WORDS[state], counts[state]) for state in _ORDER if counts[state]
                ],
                "open": sum(one.blocks for one in moments[at]),
                "messages": [one.name for one in file.messages if one.at == at],
            }
        )
    return places


def _urgency(one: Standing) -> tuple[int, float, str]:
    return _ORDER.index(one.state), one.answer.at, one.answer.id


def _sections(standings: Sequence[Standing]) -> list[tuple[str, str, list[Standing]]]:
    groups: dict[tuple[str, str], list[Standing]] = {}
    for one in standings:
        groups.setdefault((PHASES[one.answer.phase], one.answer.section), []).append(one)
    return [(phase, section, members) for (phase, section), members in groups.items()]


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("insight_cloud.launch", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["moment"] = lambda one: f"{one:%Y-%m-%d %H:%M} UTC"
    return environment.get_template("room.html")
