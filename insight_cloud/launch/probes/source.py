"""Reads the source of the project for what a reviewer would look for, by rules of our own."""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from insight_cloud.core import process
from insight_cloud.core.errors import Missing
from insight_cloud.launch.probes.files import chosen
from insight_cloud.launch.secrets import secrets_in
from insight_cloud.launch.target import NotRun, Target

__all__ = ["read_source"]

_LARGEST_BYTES = 2 * 1024 * 1024
_HISTORY_BYTES = 64 * 1024 * 1024
_ENVIRONMENTS = {"production", "staging", "development", "prod", "dev", "stage"}
_CALLERS = {"requests", "httpx", "urllib3", "aiohttp"}
_CALLS = {"get", "post", "put", "patch", "delete", "head", "request", "stream"}
_CLIENTS = {
    "aiohttp.ClientSession",
    "urllib.request.urlopen",
    "smtplib.SMTP",
    "socket.create_connection",
}


async def read_source(target: Target, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What `rule` finds: `findings` with place and text, over how many `files`.

    Rules: `timeouts` (calls to other services that may wait for ever), `environments` (branches
    by the name of an environment outside of settings), `secrets` (in files and in Git's history).
    `except` are patterns of paths that are passed over.
    """
    rule = str(parameters["rule"])
    if rule == "secrets":
        return await _secrets(target, parameters)
    # Reading a project takes seconds: in a thread, so that other probes' time goes on.
    count, findings = await asyncio.to_thread(_read, target, parameters, _RULES[rule])
    if count == 0:
        raise NotRun("no Python file is left after the exceptions")
    return {"files": count, "findings": findings}


def _read(
    target: Target,
    parameters: Mapping[str, Any],
    rule: Callable[[ast.AST], Iterator[tuple[int, str]]],
) -> tuple[int, list[str]]:
    folder, findings, count = target.need_folder(), [], 0
    for path in chosen(target, ["**/*.py"], parameters):
        name = str(path.relative_to(folder))
        if not _is_passed(name, parameters):
            count += 1
            findings += [f"{name}:{line} {text}" for line, text in rule(_tree(path))]
    return count, findings


def _is_passed(name: str, parameters: Mapping[str, Any]) -> bool:
    return any(re.search(pattern, name) for pattern in parameters.get("except", []))


def _tree(path: Path) -> ast.AST:
    try:
        return ast.parse(path.read_bytes()[:_LARGEST_BYTES])
    except (SyntaxError, ValueError, RecursionError):
        return ast.Module(body=[], type_ignores=[])  # a template or an older language


def _timeouts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Calls without a time limit. httpx has one of its own, unless it is taken away."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = _dotted(node.func)
        module, _, verb = name.rpartition(".")
        given = {word.arg: word.value for word in node.keywords}
        timeout = given.get("timeout")
        unlimited = isinstance(timeout, ast.Constant) and timeout.value is None
        calls = (module in _CALLERS and verb in _CALLS) or name in _CLIENTS
        if unlimited and (calls or module == "httpx"):
            yield node.lineno, f"{name}(timeout=None)"
        elif calls and timeout is None and module != "httpx" and None not in given:
            yield node.lineno, f"{name}() without a timeout"


def _environments(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        names = [one.value for one in sides if isinstance(one, ast.Constant)]
        about = " ".join(_dotted(one).lower() for one in sides)
        if any(name in _ENVIRONMENTS for name in names) and re.search(r"env|stage|mode", about):
            yield node.lineno, ast.unparse(node)[:120]


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}".lstrip(".")
    if isinstance(node, ast.Call):
        return _dotted(node.func)
    if isinstance(node, ast.Subscript):
        return f"{_dotted(node.value)}.{ast.unparse(node.slice)}"
    return node.id if isinstance(node, ast.Name) else ""


_RULES: Mapping[str, Callable[[ast.AST], Iterator[tuple[int, str]]]] = {
    "timeouts": _timeouts,
    "environments": _environments,
}


async def _secrets(target: Target, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Secrets in every commit that any branch reaches; without Git, in the files."""
    history = await _history(target.need_folder())
    search = _in_history if history else _in_files
    count, findings = await asyncio.to_thread(search, history, target, parameters)
    return {"files": count, "history": bool(history), "findings": sorted(findings)}


def _in_history(history: str, _: Target, parameters: Mapping[str, Any]) -> tuple[int, set[str]]:
    findings: set[str] = set()
    name, count, passed = "", 0, False
    for line in history.splitlines():
        if line.startswith("+++ "):
            name, count = line[6:], count + 1
            passed = _is_passed(name, parameters)
        elif line.startswith("+") and not passed:
            findings |= {f"{name}: {kind}" for kind in secrets_in(line[1:4096])}
    return count, findings


def _in_files(_: str, target: Target, parameters: Mapping[str, Any]) -> tuple[int, set[str]]:
    findings: set[str] = set()
    count, left = 0, _HISTORY_BYTES
    for path in chosen(target, ["**/*"], parameters):
        name = str(path.relative_to(target.need_folder()))
        size = path.stat().st_size
        if size > _LARGEST_BYTES or _is_passed(name, parameters):
            continue
        left -= size
        if left < 0:
            raise NotRun("the files are more than 64 MiB: put the project under Git")
        data = path.read_bytes()
        if b"\0" not in data:
            count += 1
            findings |= {f"{name}: {kind}" for kind in secrets_in(data.decode("utf-8", "replace"))}
    return count, findings


async def _history(folder: Path) -> str:
    command = ["git", "-C", str(folder), "log", "--all", "-p", "-U0", "--no-color", "--no-ext-diff"]
    try:
        done = await process.run(
            [*command, "--no-textconv"], timeout_seconds=100, output_bytes=_HISTORY_BYTES
        )
    except Missing:
        return ""
    if done.timed_out or done.truncated:
        raise NotRun("the history is too long to be read within 100 s and 64 MiB")
    return done.stdout.decode("utf-8", "replace") if done.status == 0 else ""
