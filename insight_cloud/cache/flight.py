"""Single flight: of many who want the same thing at once, one works and all are served.

The work is a task of its own. Nobody who waits owns it: a caller that is cancelled leaves the
others and the work alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar

from insight_cloud.cache.tasks import end
from insight_cloud.core.errors import Unavailable

__all__ = ["Flights"]

_T = TypeVar("_T")


class Flights:
    """The work under way, by key."""

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[Any]] = {}

    async def join(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """The result of the work for `key`: of what is under way, else of `work()`."""
        task = self._tasks.get(key) or self.start(key, work)
        # shield: the caller's cancellation must end its waiting and not the work.
        result: _T = await asyncio.shield(task)
        return result

    def start(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, _T]]) -> asyncio.Task[_T]:
        """Begin work that nobody needs to wait for; `key` must not be under way."""
        task = asyncio.create_task(_own(work), name=f"cache-{key}")
        self._tasks[key] = task

        def ended(task: asyncio.Task[_T]) -> None:
            if self._tasks.get(key) is task:
                del self._tasks[key]
            if not task.cancelled():
                task.exception()  # looked at here: everybody may have gone

        task.add_done_callback(ended)
        return task

    def under_way(self, key: Hashable) -> bool:
        """Whether somebody works on `key`."""
        return key in self._tasks

    async def close(self) -> None:
        """Cancel what is under way."""
        await end(*self._tasks.values())


async def _own(work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Run `work`; if it cancels itself, those who wait must not believe they were cancelled."""
    try:
        return await work()
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise Unavailable("the computation of a cached value was cancelled from within") from error
