"""Reads lock files: is every package locked with a hash, and is the lock the committed one."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from insight_cloud.core import process
from insight_cloud.core.errors import Corrupt, Missing
from insight_cloud.launch.probes.files import chosen
from insight_cloud.launch.target import Target

__all__ = ["read_locks"]

_PINNED = re.compile(r"^([A-Za-z0-9][\w.\[\]-]*)\s*==", re.MULTILINE)


async def read_locks(target: Target, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Each lock file with the number of its packages and those `without_hash`; `changed` ones."""
    paths = chosen(target, parameters["files"], parameters)
    folder = target.need_folder()
    locks: list[dict[str, Any]] = []
    for path in paths:
        packages, bare = _read(path)
        name = str(path.relative_to(folder))
        locks.append({"name": name, "packages": packages, "without_hash": bare})
    return {
        "locks": locks,
        "changed": await _changed(folder, [str(lock["name"]) for lock in locks]),
    }


def _read(path: Path) -> tuple[int, list[str]]:
    try:
        text = path.read_text(encoding="utf-8")
        if path.name in {"uv.lock", "poetry.lock"}:
            return _toml(tomllib.loads(text))
        if path.name == "package-lock.json":
            return _npm(msgspec.json.decode(text))
    except (OSError, UnicodeError, tomllib.TOMLDecodeError, msgspec.DecodeError) as error:
        raise Corrupt(f"{path}: {error}") from error
    blocks = text.replace("\\\n", " ").splitlines()
    pinned = [(found[1], line) for line in blocks if (found := _PINNED.match(line.strip()))]
    return len(pinned), [name for name, line in pinned if "--hash=" not in line]


def _toml(data: Mapping[str, Any]) -> tuple[int, list[str]]:
    packages = [one for one in data.get("package", []) if not _is_own(one.get("source", {}))]
    bare = [one["name"] for one in packages if not _has_hash(one)]
    return len(packages), bare


def _is_own(source: Mapping[str, Any]) -> bool:
    """A package of this very project has no hash."""
    return bool({"editable", "virtual", "directory"} & set(source))


def _has_hash(package: Mapping[str, Any]) -> bool:
    files = [*package.get("wheels", []), *package.get("files", [])]
    files += [package["sdist"]] if "sdist" in package else []
    return bool(files) and all("hash" in file for file in files)


def _npm(data: Mapping[str, Any]) -> tuple[int, list[str]]:
    packages = {name: one for name, one in data.get("packages", {}).items() if name}
    bare = [n for n, one in packages.items() if not one.get("link") and "integrity" not in one]
    return len(packages), bare


async def _changed(folder: Path, names: list[str]) -> list[str]:
    """Lock files that differ from the commit; none where there is no Git to ask."""
    command = ["git", "-C", str(folder), "status", "--porcelain", "--", *names]
    try:
        done = await process.run(command, timeout_seconds=20, output_bytes=65536)
    except Missing:
        return []
    return [line[3:] for line in done.stdout.decode().splitlines()] if done.status == 0 else []
