"""Single flight: of many who want the same thing at once, one works and all are served.

The work is a task of its own. Nobody who waits owns it: a caller that is cancelled leaves the
others and the work alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Sequence
from typing import Any, TypeVar

from insight_cloud.cache.tasks import end
from insight_cloud.core.errors import Unavailable

__all__ = ["Flights"]

_T = TypeVar("_T")


class Flights:
    """The work under way, by key."""

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[Any]] = {}
        self._tags: dict[Hashable, Sequence[str]] = {}
        self._overtaken: set[asyncio.Task[Any]] = set()

    async def join(
        self,
        key: Hashable,
        work: Callable[[], Coroutine[Any, Any, _T]],
        tags: Sequence[str] = (),
    ) -> _T:
        """The result of the work for `key`: of what is under way, else of `work()`."""
        task = self._tasks.get(key) or self.start(key, work, tags)
        # shield: the caller's cancellation must end its waiting and not the work.
        result: _T = await asyncio.shield(task)
        return result

    def start(
        self,
        key: Hashable,
        work: Callable[[], Coroutine[Any, Any, _T]],
        tags: Sequence[str] = (),
    ) -> asyncio.Task[_T]:
        """Begin work that nobody needs to wait for; `key` must not be under way."""
        task = asyncio.create_task(_own(work), name=f"cache-{key}")
        self._tasks[key] = task
        self._tags[key] = tags

        def ended(task: asyncio.Task[_T]) -> None:
            self._overtaken.discard(task)
            if self._tasks.get(key) is task:
                del self._tasks[key], self._tags[key]
            if not task.cancelled():
                task.exception()  # looked at here: everybody may have gone

        task.add_done_callback(ended)
        return task

    def under_way(self, key: Hashable) -> bool:
        """Whether somebody works on `key`."""
        return key in self._tasks

    def overtake(self, *keys: Hashable) -> None:
        """Something has changed: the work under way for `keys` is finished for those who wait.

        Whoever comes now did so after the change, and must not be given what was read before.
        """
        for key in keys:
            task = self._tasks.pop(key, None)
            if task is not None:
                del self._tags[key]
                self._overtaken.add(task)

    def overtake_tag(self, tag: str) -> None:
        """The same for all work of which the result would have `tag`."""
        self.overtake(*[key for key, tags in self._tags.items() if tag in tags])

    async def close(self) -> None:
        """Cancel what is under way."""
        await end(*self._tasks.values(), *self._overtaken)


async def _own(work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Run `work`; if it cancels itself, those who wait must not believe they were cancelled."""
    try:
        return await work()
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise Unavailable("the computation of a cached value was cancelled from within") from error
