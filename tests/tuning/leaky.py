"""Applications to be soaked: two that leak, in Python and outside of it, and one that does not."""

from __future__ import annotations

import ctypes
from typing import Any

_libc = ctypes.CDLL(None)
_libc.malloc.restype = ctypes.c_void_p
_kept: list[str] = []
_cache: dict[int, bytes] = {}


async def _answer(scope: Any, send: Any, status: int = 200) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})


async def python(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        _kept.append("x" * 8000 + str(len(_kept)))  # leaks here
    await _answer(scope, send)


async def native(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        place = _libc.malloc(8000)  # or here
        ctypes.memset(place, 1, 8000)
    await _answer(scope, send)


async def healthy(scope: Any, receive: Any, send: Any) -> None:
    _cache[len(_cache) % 300] = b"y" * 1000
    await _answer(scope, send)


async def failing(scope: Any, receive: Any, send: Any) -> None:
    await _answer(scope, send, 500)
