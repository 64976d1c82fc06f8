"""Tries which ports of the deployment's host are open: only that host, only the ports listed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

from insight_cloud.core.errors import Corrupt
from insight_cloud.launch.target import Target

__all__ = ["read_ports"]

_MOST = 200


async def read_ports(target: Target, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Which of `ports` accept a connection, and which of those are not among `allowed`."""
    ports = [int(port) for port in parameters["ports"]]
    if not 0 < len(ports) <= _MOST:
        raise Corrupt(f"1 to {_MOST} ports are tried")
    host, at_once = target.host, asyncio.Semaphore(16)

    async def is_open(port: int) -> bool:
        async with at_once:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(min(3.0, target.timeout_seconds)):
                    _, writer = await asyncio.open_connection(host, port)
                writer.close()
                return True
            return False

    found = await asyncio.gather(*map(is_open, ports))
    opened = [port for port, is_so in zip(ports, found, strict=True) if is_so]
    allowed = {int(port) for port in parameters["allowed"]}
    return {
        "host": host,
        "tried": len(ports),
        "open": opened,
        "unwanted": [port for port in opened if port not in allowed],
    }
