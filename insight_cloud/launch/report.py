"""The newest answer of every item, drawn from many runs: what a report shows. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from insight_cloud.launch.items import Item
from insight_cloud.launch.run import Answer, Run

__all__ = ["latest"]


def latest(runs: Sequence[Run], items: Sequence[Item]) -> Run:
    """A run with the newest answer of each of `items`; one that was never asked is not run.

    Only runs against the same address and release as the newest count: what another release
    passed says nothing of this one.
    """
    newest = runs[0]
    known: dict[str, Answer] = {}
    for run in runs:
        if (run.url, run.release, run.commit) == (newest.url, newest.release, newest.commit):
            for answer in run.answers:
                known.setdefault(answer.id, answer)
    answers = (known.get(item.id, _never(item)) for item in items)
    return msgspec.structs.replace(newest, answers=tuple(answers))


def _never(item: Item) -> Answer:
    return Answer(
        id=item.id,
        phase=item.phase,
        at=item.at,
        section=item.section,
        text=item.text,
        outcome="not_run" if item.probes else "unsigned",
        reason="never asked for this release" if item.probes else "",
        kinds=tuple(probe.kind for probe in item.probes),
    )
