"""Waking up on time: gevent's own timers come up to a millisecond late, the kernel's do not.

Only for the process of `engine`.
"""

from __future__ import annotations

import contextlib
import ctypes
import heapq
import itertools
import os
import sys
import time
from typing import Any

import gevent
from gevent.event import Event

__all__ = ["Alarm"]

_CLOCK_MONOTONIC, _NONBLOCK, _CLOEXEC, _ABSOLUTE = 1, 0o4000, 0o2000000, 1  # sys/timerfd.h
_READABLE = 1


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Setting(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Alarm:
    """Wakes any number of greenlets, each at its time of `time.perf_counter()`."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Event]] = []
        self._number = itertools.count()
        self._silent = False
        self._libc = ctypes.CDLL(None) if sys.platform == "linux" else None
        self._file = -1
        if self._libc is not None:  # where time.perf_counter() is CLOCK_MONOTONIC
            self._file = self._libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK | _CLOEXEC)
        loop: Any = gevent.get_hub().loop
        self._loop = loop
        if self._file >= 0:
            self._watcher = loop.io(self._file, _READABLE)
            self._watcher.start(self._ring)
        else:
            self._watcher = loop.timer(0)

    def until(self, when: float) -> bool:
        """Wait until `when`; say whether there was anything to wait for."""
        if self._silent or when <= time.perf_counter():
            return False
        event = Event()
        heapq.heappush(self._heap, (when, next(self._number), event))
        if self._heap[0][2] is event:
            self._set(when)
        event.wait()
        return True

    def silence(self) -> None:
        """Wake everybody now, and let nobody wait any more."""
        self._silent = True
        while self._heap:
            heapq.heappop(self._heap)[2].set()

    def _ring(self) -> None:
        """Wake those whose time has come. Runs in the hub, so it never waits."""
        with contextlib.suppress(BlockingIOError):
            if self._file >= 0:
                os.read(self._file, 8)
        now = time.perf_counter()
        while self._heap and self._heap[0][0] <= now:
            heapq.heappop(self._heap)[2].set()
        if self._heap:
            self._set(self._heap[0][0])

    def _set(self, when: float) -> None:
        if self._file >= 0 and self._libc is not None:
            seconds = int(when)
            value = _Timespec(seconds, max(1, int((when - seconds) * 1e9)))
            setting = _Setting(_Timespec(0, 0), value)
            self._libc.timerfd_settime(self._file, _ABSOLUTE, ctypes.byref(setting), None)
            return
        self._watcher.stop()
        self._watcher = self._loop.timer(max(0.0, when - time.perf_counter()))
        self._watcher.start(self._ring)
