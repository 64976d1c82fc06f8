"""Reads log files: are they structured, and do they keep secrets to themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from insight_cloud.launch.probes.files import chosen
from insight_cloud.launch.secrets import secrets_in
from insight_cloud.launch.target import Target

__all__ = ["read_logs"]

_LAST_BYTES = 32 * 1024 * 1024


async def read_logs(target: Target, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The last 32 MiB of each of `files`: `lines`, how many are JSON, and lines with `secrets`."""
    paths = chosen(target, parameters["files"], parameters)
    return await asyncio.to_thread(_read, paths)  # it takes seconds, and others wait


def _read(paths: Iterable[Path]) -> dict[str, Any]:
    lines = structured = with_id = 0
    secrets: list[str] = []
    for path in paths:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LAST_BYTES))
            text = file.read(_LAST_BYTES).decode("utf-8", "replace")
        for number, line in enumerate(filter(str.strip, text.splitlines()), 1):
            lines += 1
            data = _json(line)
            structured += data is not None
            with_id += data is not None and bool({"request_id", "request", "trace_id"} & set(data))
            secrets += [f"{path.name}:{number} {kind}" for kind in secrets_in(line)][:1]
    return {
        "lines": lines,
        "structured_share": structured / lines if lines else 0.0,
        "with_request_id": with_id,
        "secrets": secrets[:50],
    }


def _json(line: str) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.DecodeError:
        return None
