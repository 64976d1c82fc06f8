"""Saved plans, and snapshots to go back to: files of one's own, written whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from insight_cloud.core.errors import Corrupt, Missing, SettingsError, Unavailable
from insight_cloud.core.plan import Change, Plan
from insight_cloud.edge.phases import MANAGED, Phase
from insight_cloud.edge.planning import EdgePlan, Write

__all__ = [
    "Snapshot",
    "latest_snapshot",
    "load_plan",
    "load_snapshot",
    "save_plan",
    "save_snapshot",
    "write_whole",
]

_FORMAT = 1
_MOST_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Snapshot:
    """What was there before an apply, of everything that the apply was to write."""

    zone: str
    name: str
    made: str
    items: Mapping[str, Any]
    rulesets: Mapping[Phase, list[dict[str, Any]]]
    after: Mapping[str, str]
    """The fingerprint of the zone after the apply; empty while it is not finished."""


def write_whole(path: Path, text: str) -> None:
    """Replace `path` by `text`, readable for its owner only; a failure leaves the old file.

    Raises:
        SettingsError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise SettingsError(f"cannot write {path}: {error.strerror}") from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise Unavailable(f"cannot write {path}: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


# -- plans ---------------------------------------------------------------------------------


def save_plan(path: Path, plan: EdgePlan, *, now: datetime) -> None:
    """Write `plan` with the state it was planned for and its digest.

    Raises:
        SettingsError, Unavailable: the file cannot be written.
    """
    body = {
        "format": _FORMAT,
        "made": now.isoformat(timespec="seconds"),
        "zone": plan.zone,
        "digest": plan.digest,
        "found": dict(plan.found),
        "changes": [
            [change.verb, change.target, change.before, change.after] for change in plan.changes
        ],
        "writes": [[w.target, w.kind, w.step, w.value] for w in plan.writes],
        "places": dict(plan.places),
        "unmanaged": list(plan.unmanaged),
        "notes": list(plan.notes),
        "unavailable": list(plan.unavailable),
    }
    write_whole(path, json.dumps(body, indent=1, ensure_ascii=False) + "\n")


def load_plan(path: Path) -> EdgePlan:
    """Read a plan that `save_plan` wrote.

    Raises:
        Missing: there is no such file.
        Corrupt: it is not a plan, or was changed since it was made.
    """
    body = _load(path, "plan")
    try:
        plan = EdgePlan(
            str(body["zone"]),
            Plan(tuple(Change(*change) for change in body["changes"])),
            tuple(Write(*write) for write in body["writes"]),
            {str(key): str(value) for key, value in body["found"].items()},
            tuple(body["unmanaged"]),
            tuple(body["notes"]),
            tuple(body["unavailable"]),
            dict(body["places"]),
        )
        digest = body["digest"]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Corrupt(f"{path} is no plan of this program; make a new one") from None
    if digest != plan.digest:
        raise Corrupt(f"{path} was changed after it was made; make a new plan")
    return plan


# -- snapshots -----------------------------------------------------------------------------


def save_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Write `snapshot`.

    Raises:
        SettingsError, Unavailable: the file cannot be written.
    """
    body = {
        "format": _FORMAT,
        "zone": snapshot.zone,
        "name": snapshot.name,
        "made": snapshot.made,
        "items": dict(snapshot.items),
        "rulesets": dict(snapshot.rulesets),
        "after": dict(snapshot.after),
    }
    write_whole(path, json.dumps(body, indent=1, ensure_ascii=False) + "\n")


def load_snapshot(path: Path) -> Snapshot:
    """Read a snapshot that `save_snapshot` wrote.

    Raises:
        Missing: there is no such file.
        Corrupt: it is not a snapshot.
    """
    body = _load(path, "snapshot")
    try:
        rulesets = {key: list(body["rulesets"][key]) for key in MANAGED if key in body["rulesets"]}
        return Snapshot(
            str(body["zone"]),
            str(body["name"]),
            str(body["made"]),
            dict(body["items"]),
            rulesets,
            dict(body["after"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Corrupt(f"{path} is no snapshot of this program") from None


def latest_snapshot(folder: Path, zone: str) -> Path:
    """The newest snapshot of `zone` in `folder`.

    Raises:
        Missing: there is none.
    """
    found = sorted(folder.glob(f"{zone}-*.json"))
    if not found:
        raise Missing(f"there is no snapshot of {zone} in {folder}: nothing was applied from here")
    return found[-1]


def _load(path: Path, what: str) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        body = json.loads(content) if len(content) <= _MOST_BYTES else None
    except FileNotFoundError:
        raise Missing(f"there is no {what} {path}") from None
    except OSError as error:
        raise Missing(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError):
        raise Corrupt(f"{path} is no {what} of this program") from None
    if not isinstance(body, dict) or body.get("format") != _FORMAT:
        raise Corrupt(f"{path} is no {what} of this program")
    return body
