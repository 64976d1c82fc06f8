"""Let the object store library's threads leave Python before the interpreter is taken down.

Such a thread hands a result to the event loop by waking it, and gives the interpreter lock away
while it does. If the result was the last one, the program may end before the thread has the lock
again; asking for it then ends the thread in a way that Rust answers by aborting the process. The
work was done, and the exit status says that it failed: seen in one of twenty runs on a busy
machine. So the end of the program waits for those threads.
"""

from __future__ import annotations

import atexit
import contextlib
import sys
import threading
import time

__all__ = ["given_up"]

_LEAST_SECONDS = 0.02  # for a thread that waits for the lock and has not come to Python yet
_GIVEN_UP_SECONDS = 0.2  # for those that learn that nobody wants their result
_MOST_SECONDS = 3.0
_STEP_SECONDS = 0.002

_given_up = threading.Event()


def given_up() -> None:
    """Note that a request was given up: its thread is on its way, and cannot be seen."""
    _given_up.set()


@atexit.register
def _settle() -> None:
    with contextlib.suppress(KeyboardInterrupt):  # who is in a hurry takes the chance of one in 20
        _wait()


def _wait() -> None:
    limit = time.monotonic() + _MOST_SECONDS
    time.sleep(_GIVEN_UP_SECONDS if _given_up.is_set() else _LEAST_SECONDS)
    while _strangers() and time.monotonic() < limit:
        time.sleep(_STEP_SECONDS)


def _strangers() -> set[int]:
    """The threads that run Python and were not started by Python."""
    ours = {
        thread.ident
        for thread in threading.enumerate()
        if not isinstance(thread, threading._DummyThread)  # noqa: SLF001 - no public way
    }
    return {ident for ident in sys._current_frames() if ident not in ours}  # noqa: SLF001 - see above
