"""Spreads files over Python children and collects what they found in each.

Apart because a child of ours can be stopped at its time limit, and killed with Ctrl-C,
while a thread in the middle of a regular expression cannot.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from insight_cloud.app.detectors.detector import Children, Result, decode, ended_badly
from insight_cloud.app.detectors.files import File

__all__ = ["Answer", "Task", "serve", "spread"]

_T = TypeVar("_T")
_SMALL_BYTES = 256 * 1024
"""Less source than this is not worth a second child."""


class Task(msgspec.Struct, frozen=True, array_like=True):
    """What a child is asked: the files (name, path) and the detector's own parameters."""

    files: list[tuple[str, str]]
    parameters: msgspec.Raw


class _Reply(msgspec.Struct, frozen=True, array_like=True):
    found: msgspec.Raw
    failed: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer(Generic[_T]):
    """What was found by file name, and in `detail` the files that could not be analysed."""

    found: dict[str, list[_T]]
    detail: str = ""


async def spread(
    module: str, files: tuple[File, ...], children: Children, *, kind: type[_T], task: Any
) -> Answer[_T] | Result:
    """Let children running `module` analyse `files`; a Result when one of them ended badly.

    Raises:
        Corrupt: a child's answer cannot be read.
    """
    by_name: Any = dict[str, list[kind]]  # type: ignore[valid-type]  # known at run time
    parts = _parts(files, children.limit)
    outcomes = await asyncio.gather(*(_ask(module, part, children, task) for part in parts))
    found: dict[str, list[_T]] = {}
    failed: list[tuple[str, str]] = []
    for outcome in outcomes:
        if bad := ended_badly(outcome, timeout_seconds=children.timeout_seconds):
            return bad
        reply = decode(outcome.stdout, _Reply, tool=module)
        found |= decode(bytes(reply.found), by_name, tool=module)
        failed += reply.failed
    return Answer(found, _told(failed))


def serve(analyse: Callable[[str, str, Any], list[Any]], *, parameters: Any) -> None:
    """The child's side: answer the task on standard input.

    `analyse(name, path, parameters)` returns what it found in one file. A file on which it
    fails is reported and the rest goes on: one odd file must not hide all others.
    """
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    given = msgspec.json.decode(bytes(task.parameters), type=parameters)
    found: dict[str, list[Any]] = {}
    failed: list[tuple[str, str]] = []
    for name, path in task.files:
        try:
            if rows := analyse(name, path, given):
                found[name] = rows
        except Exception as error:  # noqa: BLE001 - a foreign parser may raise anything
            failed.append((name, f"{type(error).__name__}: {error}"))
    sys.stdout.buffer.write(msgspec.json.encode([found, failed]))


async def _ask(module: str, files: list[File], children: Children, task: Any) -> Any:
    question = [[(file.name, file.path) for file in files], task]
    return await children.python(module, stdin=msgspec.json.encode(question))


def _parts(files: tuple[File, ...], count: int) -> list[list[File]]:
    """At most `count` parts of about equal size, the same for the same files."""
    if sum(file.size_bytes for file in files) < _SMALL_BYTES:
        count = 1
    parts: list[list[File]] = [[] for _ in range(count)]
    sizes = [0] * count
    for file in sorted(files, key=lambda file: (-file.size_bytes, file.name)):
        least = sizes.index(min(sizes))
        parts[least].append(file)
        sizes[least] += file.size_bytes + 1
    return [part for part in parts if part]


def _told(failed: list[tuple[str, str]]) -> str:
    if not failed:
        return ""
    shown = "; ".join(f"{name}: {why}" for name, why in sorted(failed)[:3])
    return f"{len(failed)} files could not be analysed: {shown}"
