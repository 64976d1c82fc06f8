"""The kinds of probes: each reads one kind of thing into a document, and judges nothing.

A reader takes the target and its parameters, and returns plain data that conditions are held
against. It raises `NotRun` when what it needs is not there, and `Unavailable` when it did not
answer. One module a kind of outside; `KINDS` is imported lazily, for each has a library.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from insight_cloud.launch.target import Target

__all__ = ["KINDS", "Reader", "reader"]

Reader: TypeAlias = Callable[[Target, Mapping[str, Any]], Awaitable[Any]]

KINDS: Mapping[str, str] = {
    "backups": "backups",
    "cloudflare": "http",
    "command": "commands",
    "dns": "dns",
    "document": "files",
    "edge": "edge",
    "environment": "environment",
    "http": "http",
    "launch": "files",
    "limits": "limits",
    "locks": "locks",
    "logs": "logs",
    "machine": "machine",
    "metrics": "metrics",
    "migrations": "migrations",
    "modes": "files",
    "ports": "network",
    "redis": "redis",
    "rota": "rota",
    "source": "source",
    "sql": "sql",
    "text": "files",
    "tls": "tls",
    "triggers": "metrics",
}
"""Each kind and the module here that has a function of that name, with `read_` before it."""


def reader(kind: str) -> Reader:
    """The reader of `kind`."""
    module = importlib.import_module(f"{__name__}.{KINDS[kind]}")
    found: Reader = getattr(module, f"read_{kind}")
    return found
