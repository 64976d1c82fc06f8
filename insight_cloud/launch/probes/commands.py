"""Runs programs of an allow-list in the project's folder, without our environment."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from insight_cloud.core import process
from insight_cloud.core.errors import Corrupt, Refused
from insight_cloud.launch.probes.files import chosen
from insight_cloud.launch.target import NotRun, Target

__all__ = ["ALLOWED", "read_command"]

ALLOWED = frozenset(
    {"git", "insight", "mypy", "ruff", "systemctl", "timedatectl", "chronyc", "uv", "bandit"}
)
"""What may be run. launch.toml adds to it by `commands.allow`: it is the operator's own file."""

_OUTPUT_BYTES = 8 * 1024 * 1024


async def read_command(target: Target, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Run `commands`, lists of words, one after the other; no shell is asked.

    Without a file that matches `about` there is nothing to run them on. With `must_succeed` one
    that cannot do its work here makes the item not run.

    Raises:
        Refused: the program is not allowed.
    """
    seconds = float(parameters.get("seconds", 120))
    if "about" in parameters:
        chosen(target, parameters["about"], parameters)
    done: list[dict[str, Any]] = []
    for words in parameters["commands"]:
        if not isinstance(words, list) or not words:
            raise Corrupt("`commands` lists commands, each a list of words")
        done.append(await _run(target, [str(word) for word in words], seconds))
        if parameters.get("must_succeed") and done[-1]["status"] != 0:
            reason = " ".join(done[-1]["error"].split()) or "it gives no reason"
            raise NotRun(f"{words[0]} cannot say that here: {reason}")
    return done


async def _run(target: Target, words: Sequence[str], seconds: float) -> dict[str, Any]:
    name = words[0]
    if name not in ALLOWED and name not in target.file.programs:
        raise Refused(f"{name} is not among the programs that may be run: see commands.allow")
    outcome = await process.run(
        [*_program(target, name), *words[1:]],
        timeout_seconds=seconds,
        cwd=target.need_folder(),
        environment={"PATH": target.path, "LANG": "C.UTF-8", "HOME": "/nonexistent"},
        output_bytes=_OUTPUT_BYTES,
    )
    text = outcome.stdout.decode("utf-8", "replace")
    found: dict[str, Any] = {
        "command": " ".join(words),
        "status": outcome.status,
        "timed_out": outcome.timed_out,
        "text": text.strip(),
        "lines": [line for line in text.splitlines() if line.strip()],
        "error": outcome.stderr_tail,
    }
    if text[:1] in {"[", "{"}:
        try:
            found["json"] = msgspec.json.decode(text)
        except msgspec.DecodeError:
            found["json_problem"] = "what was printed is no JSON"
    return found


def _program(target: Target, name: str) -> list[str]:
    if name == "insight":
        return [sys.executable, "-m", "insight_cloud.cli"]
    beside_us = f"{sys.prefix}/bin"
    found = shutil.which(name, path=f"{target.path}:{beside_us}")
    if found is None:
        raise NotRun(f"{name} is not installed here")
    return [found]
