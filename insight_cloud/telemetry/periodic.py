"""What telemetry does every few seconds, beside the requests: one task for each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from inspect import isawaitable
from types import TracebackType
from typing import Self

__all__ = ["Every", "Periodic"]

log = logging.getLogger("insight.telemetry")


@dataclass(frozen=True, slots=True)
class Every:
    """Do `work` now and every `seconds`."""

    seconds: float
    work: Callable[[], Awaitable[None] | None]


class Periodic:
    """Does everything given, inside `async with`; one that fails is logged and tried again."""

    def __init__(self, works: Sequence[Every]) -> None:
        self._works = tuple(works)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        tasks = [asyncio.create_task(_repeat(every)) for every in self._works]
        self._stack.push_async_callback(_end, tasks)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()


async def _repeat(every: Every) -> None:
    failing = False
    while True:
        try:
            if isawaitable(done := every.work()):
                await done
        except Exception:
            if not failing:  # once for a row of failures
                log.exception("telemetry.work_failed: %r, to be tried again", every.work)
            failing = True
        else:
            failing = False
        await asyncio.sleep(every.seconds)


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
