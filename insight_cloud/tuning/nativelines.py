"""Which lines of Python leave native memory behind, whoever allocates it.

memray sees what goes through the libraries it has patched; a function pointer that was looked up
by itself, as ctypes does, is not among them. Here the C library is asked after every line of the
application how much it has handed out (`mallinfo2`). That is slow and exact, and asks for one
request at a time, so it is only done when memory grows that nobody else can explain.
"""

from __future__ import annotations

import ctypes
import resource
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

__all__ = ["Lines", "traced", "used_bytes"]

Lines = dict[tuple[str, int, str], list[int]]
"""File, line and function: bytes that stayed, and how often the line ran."""


class _Mallinfo(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd",
            "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


def used_bytes() -> Callable[[], int]:
    """What asks how many bytes are handed out: the C library, or else the pages we hold."""
    try:
        ask = ctypes.CDLL(None).mallinfo2
    except (AttributeError, OSError, TypeError):  # not glibc, or an old one
        return _resident
    ask.restype = _Mallinfo

    def asked() -> int:
        found = ask()
        return int(found.uordblks + found.hblkhd)

    return asked


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    return pages * resource.getpagesize()


@contextmanager
def traced(is_library: Callable[[str], bool]) -> Iterator[Lines]:
    """Attribute what stays to the lines of the application that run in this thread meanwhile.

    What a library does counts for the line that called it.
    """
    lines: Lines = defaultdict(lambda: [0, 0])
    tracer = _Tracer(lines, is_library, used_bytes())
    before = sys.gettrace()
    sys.settrace(tracer.call)
    try:
        yield lines
    finally:
        sys.settrace(before)


class _Tracer:
    def __init__(
        self, lines: Lines, is_library: Callable[[str], bool], used: Callable[[], int]
    ) -> None:
        self._lines = lines
        self._is_library = is_library
        self._used = used
        self._ours: dict[CodeType, bool] = {}
        self._place: tuple[str, int, str] | None = None
        self._before = 0

    def call(self, frame: FrameType, event: str, _argument: Any) -> Any:
        """Trace into the application's own functions, not into libraries."""
        if event != "call" or not self._is_ours(frame.f_code):
            return None
        self._settle(frame)
        return self.line

    def line(self, frame: FrameType, event: str, _argument: Any) -> Any:
        """A line begins or a function ends: what came since belongs to the line before."""
        caller = frame.f_back if event == "return" else frame
        self._settle(caller if caller and self._is_ours(caller.f_code) else None)
        return self.line

    def _settle(self, frame: FrameType | None) -> None:
        now = self._used()
        if self._place is not None:
            entry = self._lines[self._place]
            entry[0] += now - self._before
            entry[1] += 1
        self._place = (
            None
            if frame is None
            else (frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
        )
        self._before = self._used()  # without what our own counting has taken

    def _is_ours(self, code: CodeType) -> bool:
        known = self._ours.get(code)
        if known is None:
            known = self._ours[code] = not self._is_library(code.co_filename)
        return known
