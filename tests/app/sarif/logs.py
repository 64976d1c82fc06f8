"""The published and recorded logs in tests/data/sarif, and small ones made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from insight_cloud.app.sarif import read
from insight_cloud.app.sarif.model import Finding, Location, Log, Run

FOLDER = Path(__file__).parents[2] / "data" / "sarif"
ALL = sorted([*FOLDER.glob("*.sarif"), *FOLDER.glob("edge/*.sarif")])


def recorded(name: str) -> Log:
    return read.log((FOLDER / f"{name}.sarif").read_bytes())


def made(*results: Any, **run: Any) -> bytes:
    """A log with one run that holds `results`; `run` are further properties of the run."""
    tool = run.pop("tool", {"driver": {"name": "tool"}})
    return raw({"tool": tool, "results": list(results), **run})


def raw(*runs: Any) -> bytes:
    return msgspec.json.encode({"version": "2.1.0", "runs": list(runs)})


def result(uri: str | None = None, **properties: Any) -> dict[str, Any]:
    """A result with a message, and a place when `uri` is given."""
    base: dict[str, Any] = {"ruleId": "R1", "message": {"text": "wrong"}}
    if uri is not None:
        base["locations"] = [{"physicalLocation": {"artifactLocation": {"uri": uri}}}]
    return {**base, **properties}


def only(data: bytes, *, root: str | None = None) -> Finding:
    """The one finding of a log."""
    (run,) = read.log(data, root=root).runs
    (finding,) = run.findings
    return finding


def place(data: bytes, *, root: str | None = None) -> Location:
    """The location of the one finding of a log."""
    location = only(data, root=root).location
    assert location is not None
    return location


def comparable(runs: tuple[Run, ...]) -> tuple[Run, ...]:
    """Runs without what a log does not keep: durations, and pointers into another log."""
    return tuple(
        msgspec.structs.replace(
            run,
            seconds=0.0,
            findings=tuple(
                msgspec.structs.replace(finding, pointer="") for finding in run.findings
            ),
        )
        for run in runs
    )
