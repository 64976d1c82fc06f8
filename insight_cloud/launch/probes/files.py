"""Reads files of the project: documents as data, texts by patterns, modes, and launch.toml."""

from __future__ import annotations

import asyncio
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from insight_cloud.core.errors import Corrupt
from insight_cloud.launch.target import NotRun, Target

__all__ = ["chosen", "read_document", "read_launch", "read_modes", "read_text"]

_LARGEST_BYTES = 16 * 1024 * 1024
_MOST_FILES = 5000
_PASSED_OVER = {".git", ".venv", "venv", "node_modules", "__pycache__", ".mypy_cache", ".tox"}


async def read_document(target: Target, parameters: Mapping[str, Any]) -> Any:
    """The content of `file`: JSON, TOML or YAML, with `_modified`.

    Of `files`, patterns, a table by path. `made_by` says in the reason how a missing one is made.
    """
    if "files" in parameters:
        found = chosen(target, parameters["files"], parameters)
        return {str(path.relative_to(target.need_folder())): _parsed(path) for path in found}
    path = target.need_folder() / str(parameters["file"])
    if not path.is_file():
        raise NotRun(f"there is no file {parameters['file']}{_made_by(parameters)}")
    return _parsed(path)


async def read_text(target: Target, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What the patterns `find` match in each of `files`, and in `all` of them together.

    A pattern with a group finds the group. `names` are the paths.
    """
    paths = await asyncio.to_thread(chosen, target, parameters["files"], parameters)
    patterns = {name: re.compile(text, re.MULTILINE) for name, text in parameters["find"].items()}
    folder = target.need_folder()
    files: list[dict[str, Any]] = []
    for path in paths:
        text = _text(path)
        found = {name: pattern.findall(text) for name, pattern in patterns.items()}
        files.append({"name": str(path.relative_to(folder)), **found})
    together = {name: [one for file in files for one in file[name]] for name in patterns}
    return {"files": files, "all": together, "names": " ".join(file["name"] for file in files)}


async def read_modes(target: Target, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Who may read each of `files`: the mode, and whether others than the owner can."""
    files = []
    for path in chosen(target, parameters["files"], parameters, private=True):
        status = path.stat()
        files.append(
            {
                "name": str(path),
                "mode": f"{status.st_mode & 0o7777:04o}",
                "others": bool(status.st_mode & 0o077),
                "owner": status.st_uid,
            }
        )
    return {"files": files}


async def read_launch(target: Target, _: Mapping[str, Any]) -> dict[str, Any]:
    """`launch.toml` itself; a part that it does not have cannot be asked about."""
    return target.file.as_document()


def chosen(
    target: Target, patterns: Any, parameters: Mapping[str, Any], *, private: bool = False
) -> list[Path]:
    """The files that match any of `patterns`, below the folder, or absolute paths.

    Raises:
        NotRun: there is none.
    """
    given: list[Any] = [patterns] if isinstance(patterns, str) else list(patterns)
    wanted = _flat(given)
    paths = sorted({path for pattern in wanted for path in _matching(target, pattern)})
    if not paths:
        raise NotRun(f"there is no file {' or '.join(wanted)}{_made_by(parameters)}")
    if not private and len(paths) > _MOST_FILES:
        raise Corrupt(f"{len(paths)} files match; name fewer than {_MOST_FILES}")
    return paths


def _flat(patterns: list[Any]) -> list[str]:
    """The patterns, also those that a value brings as a list of its own."""
    return [str(inner) for one in patterns for inner in (one if isinstance(one, list) else [one])]


def _matching(target: Target, pattern: str) -> Iterator[Path]:
    if pattern.startswith("/"):
        parts = Path(pattern)
        yield from (path for path in parts.parent.glob(parts.name) if path.is_file())
        return
    folder = target.need_folder()
    for path in folder.glob(pattern):
        if path.is_file() and not _PASSED_OVER & set(path.relative_to(folder).parts):
            yield path


def _made_by(parameters: Mapping[str, Any]) -> str:
    return f" ({parameters['made_by']})" if "made_by" in parameters else ""


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise NotRun(f"cannot read {path}: {error.strerror}") from error


def _parsed(path: Path) -> Any:
    import yaml

    text = _text(path)
    try:
        if path.suffix == ".toml":
            data: Any = tomllib.loads(text)
        elif path.suffix in {".yml", ".yaml"}:
            data = yaml.safe_load(text)
        else:
            data = msgspec.json.decode(text)
    except (tomllib.TOMLDecodeError, yaml.YAMLError, msgspec.DecodeError, RecursionError) as error:
        raise Corrupt(f"{path}: {error}") from error
    if isinstance(data, dict):
        data.setdefault("_modified", datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat())
    return data
