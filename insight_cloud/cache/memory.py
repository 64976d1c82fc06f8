"""The store inside the process: bounded in bytes, least recently used first out."""

from __future__ import annotations

import functools
import re
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from typing_extensions import override

from insight_cloud.cache.backend import Backend, OnChange
from insight_cloud.core.errors import Conflict, Refused

__all__ = ["Memory"]

_ENTRY_BYTES = 320
"""What an entry costs beside its name and value: objects' heads, tuple, dictionary slot."""


class Memory(Backend):
    """A store of at most `limit_bytes`, names and bookkeeping included.

    `clock` counts seconds and never goes back. The methods keep the promises of `Backend`;
    none of them waits, so each is atomic.
    """

    def __init__(
        self, *, limit_bytes: int = 64 * 2**20, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = limit_bytes
        self._clock = clock
        self._entries: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._held = 0
        self._watchers: list[tuple[str, OnChange]] = []

    @property
    @override
    def coherent(self) -> bool:
        """Always: every change passes through here."""
        return True

    @property
    @override
    def shared(self) -> bool:
        return False

    @property
    def held_bytes(self) -> int:
        """What is held now; expired entries count until they are met or give way."""
        return self._held

    @override
    async def open(self, prefix: str, on_change: OnChange) -> None:
        self._watchers.append((prefix, on_change))

    @override
    async def close(self) -> None:
        """Nothing to close: another cache may use the same store."""

    @override
    async def ping(self) -> None:
        """It is always there."""

    @override
    async def get(self, name: str) -> bytes | None:
        return self._get(name)

    @override
    async def get_many(self, names: Sequence[str]) -> list[bytes | None]:
        return [self._get(name) for name in names]

    @override
    async def set(self, name: str, value: bytes, ttl_ms: int) -> None:
        self._put(name, value, self._clock() + ttl_ms / 1000)

    @override
    async def set_many(self, values: Mapping[str, bytes], ttl_ms: int) -> None:
        for name, value in values.items():
            await self.set(name, value, ttl_ms)

    @override
    async def add(self, name: str, value: bytes, ttl_ms: int) -> bool:
        if self._get(name) is not None:
            return False
        await self.set(name, value, ttl_ms)
        return True

    @override
    async def renew(self, name: str, value: bytes, ttl_ms: int) -> bool:
        if self._get(name) != value:
            return False
        await self.set(name, value, ttl_ms)
        return True

    @override
    async def remove(self, name: str, value: bytes) -> bool:
        return self._get(name) == value and self._pop(name)

    @override
    async def settle(
        self, name: str, value: bytes, ttl_ms: int, *, lock: str, token: bytes
    ) -> bool:
        if self._get(lock) != token:
            return False
        await self.set(name, value, ttl_ms)
        self._pop(lock)
        return True

    @override
    async def delete(self, names: Sequence[str]) -> None:
        for name in names:
            if name in self._entries:
                self._pop(name)

    @override
    async def increment(self, name: str, by: int, ttl_ms: int) -> int:
        raw = self._get(name)
        try:
            total = int(raw or b"0") + by
        except ValueError as error:
            raise Conflict(f"{name} holds no counter") from error
        if not -(2**63) <= total < 2**63:
            raise Conflict(f"{name} cannot count so far")
        until = self._clock() + ttl_ms / 1000 if raw is None else self._entries[name][1]
        self._put(name, b"%d" % total, until)
        return total

    @override
    async def touch(self, name: str, head: bytes, ttl_ms: int) -> bool:
        raw = self._get(name)
        if raw is None:
            return False
        patched = head + raw[len(head) :] if raw[:1] == head[:1] else raw
        await self.set(name, patched, ttl_ms)
        return True

    @override
    async def remaining_ms(self, name: str) -> int | None:
        if self._get(name) is None:
            return None
        return int((self._entries[name][1] - self._clock()) * 1000)

    @override
    async def scan(self, pattern: str) -> AsyncIterator[str]:
        matches = glob(pattern).fullmatch
        for name in [name for name in self._entries if matches(name)]:
            if self._get(name) is not None:
                yield name

    def _get(self, name: str) -> bytes | None:
        entry = self._entries.get(name)
        if entry is None:
            return None
        if entry[1] <= self._clock():
            self._pop(name)
            return None
        self._entries.move_to_end(name)
        return entry[0]

    def _put(self, name: str, value: bytes, until: float) -> None:
        if _weight(name, value) > self._limit:
            raise Refused(f"{len(value)} bytes are more than the whole cache may hold")
        previous = self._entries.pop(name, None)
        if previous is not None:
            self._held -= _weight(name, previous[0])
        self._entries[name] = (value, until)
        self._held += _weight(name, value)
        self._announce(name)
        while self._held > self._limit:
            self._pop(next(iter(self._entries)))

    def _pop(self, name: str) -> bool:
        value, _ = self._entries.pop(name)
        self._held -= _weight(name, value)
        self._announce(name)
        return True

    def _announce(self, name: str) -> None:
        for prefix, on_change in self._watchers:
            if name.startswith(prefix):
                on_change(name)


def _weight(name: str, value: bytes) -> int:
    return _ENTRY_BYTES + len(name) + len(value)


@functools.lru_cache(maxsize=256)
def glob(pattern: str) -> re.Pattern[str]:
    """Redis's glob as a regular expression."""
    parts: list[str] = []
    position = 0
    while position < len(pattern):
        piece = _PIECE.match(pattern, position)
        assert piece is not None  # noqa: S101 - the last alternative takes any character
        parts.append(_translate(piece.group()))
        position = piece.end()
    return re.compile("".join(parts), re.DOTALL)


_PIECE = re.compile(r"\\.|\[\^?(?:\\.|[^\]\\])*\]|.", re.DOTALL)
_MEMBER = re.compile(r"\\(.)|(.)-(.)|(.)", re.DOTALL)


def _translate(piece: str) -> str:
    match piece:
        case "*":
            return ".*"
        case "?":
            return "."
        case _ if len(piece) > 1 and piece[0] == "[":
            return _one_of(piece[1:-1])
        case _:
            return re.escape(piece[-1] if piece[0] == "\\" else piece)


def _one_of(members: str) -> str:
    inverted, members = members[:1] == "^", members.removeprefix("^")
    parts = [
        f"{re.escape(min(ends))}-{re.escape(max(ends))}"
        if ends[0]
        else re.escape(escaped or single)
        for escaped, *ends, single in _MEMBER.findall(members)
    ]
    if not parts:
        return "." if inverted else "(?!)"
    return f"[{'^' if inverted else ''}{''.join(parts)}]"
