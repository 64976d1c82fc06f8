"""Compares the migrations of the project with those that the database has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from insight_cloud.core.errors import InsightError
from insight_cloud.launch.probes.sql import read_sql
from insight_cloud.launch.target import NotRun, Target

__all__ = ["read_migrations"]

_REVISION = re.compile(r"^(revision|down_revision)\b[^=]*=\s*(.+)$", re.MULTILINE)
_NAME = re.compile(r"""["']([\w.-]+)["']""")
_RECORDS = {
    "alembic": "select version_num as name from alembic_version",
    "django": "select app || '.' || name as name from django_migrations",
    "numbered": "select * from schema_migrations",
}


async def read_migrations(target: Target, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """`missing` in the database, `unknown` to the project, and how many `heads` there are.

    Understood are Alembic, Django and numbered SQL files; which it is shows in the database.
    """
    pattern = str(parameters["folder"])
    folders = [path for path in sorted(target.need_folder().glob(pattern)) if path.is_dir()]
    if not folders:
        raise NotRun(f"there is no folder {pattern} with migrations")
    kind, applied = await _applied(target)
    wanted, heads = _wanted(kind, folders)
    missing = sorted(wanted - applied) if kind != "alembic" else sorted(heads - applied)
    unknown = applied - wanted
    if kind == "django":  # those of installed packages lie elsewhere
        ours = {name.partition(".")[0] for name in wanted}
        unknown = {name for name in unknown if name.partition(".")[0] in ours}
    return {
        "kind": kind,
        "wanted": len(wanted),
        "applied": len(applied),
        "missing": missing,
        "unknown": sorted(unknown),
        "heads": len(heads),
    }


async def _applied(target: Target) -> tuple[str, set[str]]:
    for kind, statement in _RECORDS.items():
        try:
            rows = (await read_sql(target, {"text": statement}))["rows"]
        except NotRun:
            continue
        return kind, {_known_as(row) for row in rows}
    raise NotRun("the database knows no migrations: neither Alembic's, Django's nor numbered ones")


def _known_as(row: Mapping[str, Any]) -> str:
    """The name of a migration; of a numbered one the number, whatever its column is called."""
    for name in ("number", "version", "filename", "name", "id"):
        if name in row:
            text = str(row[name])
            number, _, _ = text.partition("_")
            return str(int(number)) if number.isdigit() else text
    raise NotRun("the table schema_migrations has no column that names a migration")


def _wanted(kind: str, folders: list[Path]) -> tuple[set[str], set[str]]:
    if kind == "django":
        files = [path for folder in folders for path in folder.glob("[0-9]*.py")]
        names = {f"{path.parent.parent.name}.{path.stem}" for path in files}
        return names, {path.parent.parent.name for path in files and files}
    if kind == "numbered":
        numbers = [str(int(p.stem.split("_")[0])) for f in folders for p in f.glob("[0-9]*.sql")]
        if twice := {number for number in numbers if numbers.count(number) > 1}:
            return set(numbers), {*twice, "and another of that number"}
        return set(numbers), {max(numbers, key=int)} if numbers else set()
    return _revisions(folders)


def _revisions(folders: list[Path]) -> tuple[set[str], set[str]]:
    own: set[str] = set()
    below: set[str] = set()
    for path in (path for folder in folders for path in folder.glob("*.py")):
        for name, text in _REVISION.findall(path.read_text(encoding="utf-8", errors="replace")):
            (own if name == "revision" else below).update(_NAME.findall(text))
    if not own:
        raise InsightError("no Alembic revision is in these folders")
    return own, own - below
