"""Upstash as a store: Redis commands as JSON over HTTPS.

JSON carries text only, so values travel as Base64 (one third more bytes); counters stay
digits. There are no announcements over HTTP: no copies are kept, each hit is one request.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx
from typing_extensions import override

from insight_cloud.cache.backend import Backend, OnChange
from insight_cloud.cache.scripts import INCREMENT, REMOVE, RENEW, SETTLE, TOUCH, refusal
from insight_cloud.core.errors import Unavailable

__all__ = ["Upstash"]

_SCAN_COUNT = "500"
_DIGITS = b"-0123456789"


class Upstash(Backend):
    """The database at `url` (REST endpoint), opened by `token`."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout_seconds: float = 0.2,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._where = f"Upstash at {urlsplit(url).hostname}"
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=timeout_seconds,
            transport=transport,
        )

    @property
    @override
    def coherent(self) -> bool:
        return False

    @property
    @override
    def shared(self) -> bool:
        return True

    @override
    async def open(self, prefix: str, on_change: OnChange) -> None:
        """There is nothing to listen to."""

    @override
    async def close(self) -> None:
        await self._client.aclose()

    @override
    async def ping(self) -> None:
        await self._call("PING")

    @override
    async def get(self, name: str) -> bytes | None:
        return _from_text(await self._call("GET", name))

    @override
    async def get_many(self, names: Sequence[str]) -> list[bytes | None]:
        return [_from_text(text) for text in await self._call("MGET", *names)] if names else []

    @override
    async def set(self, name: str, value: bytes, ttl_ms: int) -> None:
        await self._call("SET", name, _to_text(value), "PX", ttl_ms)

    @override
    async def set_many(self, values: Mapping[str, bytes], ttl_ms: int) -> None:
        commands = [["SET", n, _to_text(v), "PX", ttl_ms] for n, v in values.items()]
        if commands:
            for answer in await self._post("/pipeline", commands):
                self._result(answer)

    @override
    async def add(self, name: str, value: bytes, ttl_ms: int) -> bool:
        return await self._call("SET", name, _to_text(value), "NX", "PX", ttl_ms) is not None

    @override
    async def renew(self, name: str, value: bytes, ttl_ms: int) -> bool:
        return bool(await self._call("EVAL", RENEW, 1, name, _to_text(value), ttl_ms))

    @override
    async def remove(self, name: str, value: bytes) -> bool:
        return bool(await self._call("EVAL", REMOVE, 1, name, _to_text(value)))

    @override
    async def settle(
        self, name: str, value: bytes, ttl_ms: int, *, lock: str, token: bytes
    ) -> bool:
        words = (name, lock, _to_text(token), _to_text(value), ttl_ms)
        return bool(await self._call("EVAL", SETTLE, 2, *words))

    @override
    async def delete(self, names: Sequence[str]) -> None:
        if names:
            await self._call("UNLINK", *names)

    @override
    async def increment(self, name: str, by: int, ttl_ms: int) -> int:
        return int(await self._call("EVAL", INCREMENT, 1, name, by, ttl_ms))

    @override
    async def touch(self, name: str, head: bytes, ttl_ms: int) -> bool:
        # Nine bytes are twelve characters without padding: the rest of the text stays valid.
        return bool(await self._call("EVAL", TOUCH, 1, name, _to_text(head), ttl_ms))

    @override
    async def remaining_ms(self, name: str) -> int | None:
        left = int(await self._call("PTTL", name))
        return None if left < 0 else left

    @override
    async def scan(self, pattern: str) -> AsyncIterator[str]:
        cursor = "0"
        while True:
            cursor, names = await self._call("SCAN", cursor, "MATCH", pattern, "COUNT", _SCAN_COUNT)
            for name in names:
                yield name
            if str(cursor) == "0":
                return

    async def _call(self, *words: str | int) -> Any:
        return self._result(await self._post("/", words))

    async def _post(self, path: str, body: Any) -> Any:
        try:
            response = await self._client.post(path, json=body)
            answer = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise Unavailable(f"{self._where} does not answer: {type(error).__name__}") from error
        if response.status_code in {401, 403, 429} or response.status_code >= 500:
            raise Unavailable(f"{self._where} answered {response.status_code}: {_text_of(answer)}")
        return answer

    def _result(self, answer: Any) -> Any:
        if not isinstance(answer, dict) or ("result" not in answer and "error" not in answer):
            raise Unavailable(f"{self._where} does not speak the REST protocol")
        if "error" in answer:
            raise refusal(self._where, str(answer["error"]))
        return answer["result"]


def _text_of(answer: Any) -> str:
    return str(answer.get("error", "")) if isinstance(answer, dict) else ""


def _to_text(value: bytes) -> str:
    """Digits stay digits; anything else is Base64, which for our format begins with a letter."""
    if value[:1] and value[0] in _DIGITS and value.lstrip(b"-").isdigit():
        return value.decode()
    return base64.b64encode(value).decode()


def _from_text(text: str | None) -> bytes | None:
    if text is None:
        return None
    if text.lstrip("-").isdigit():
        return text.encode()
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return text.encode()  # not ours: whoever reads it will find it corrupt
