"""Ending background tasks for certain, also where a library swallows a cancellation."""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["end"]

_AGAIN_SECONDS = 0.02


async def end(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel `tasks` and return when all have ended; what they raise is dropped.

    Once is not enough: redis-py sends through `asyncio.wait_for`, which before Python 3.12
    loses a cancellation that arrives together with the result, and the task runs on.
    """
    pending = {task for task in tasks if task is not None and not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_SECONDS)
    for ended in tasks:
        if ended is not None and not ended.cancelled():
            ended.exception()  # looked at, so that nothing is logged about it
