"""Looks at this machine, when the service runs here."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from insight_cloud.launch.target import NotRun, Target

__all__ = ["read_machine"]


async def read_machine(target: Target, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Limits of open files and waiting connections, memory, free disk, kills for want of memory.

    `root` is where /proc and /sys are; `growth_bytes_per_day` makes days of the free disk.
    """
    if not target.is_local:
        raise NotRun("the service runs elsewhere: look there, with values.local = true")
    root = Path(str(parameters.get("root", "/")))
    disk = shutil.disk_usage(str(parameters.get("disk", "/")))
    growth = float(parameters.get("growth_bytes_per_day", 0))
    return {
        "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "waiting_connections": _number(root / "proc/sys/net/core/somaxconn"),
        "memory_limit": _number(root / "sys/fs/cgroup/memory.max"),
        "memory_kills": _kills(root),
        "free_bytes": disk.free,
        "free_share": round(disk.free / disk.total, 3),
        "free_days": round(disk.free / growth, 1) if growth > 0 else None,
    }


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _kills(root: Path) -> int | None:
    try:
        lines = (root / "sys/fs/cgroup/memory.events").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)
