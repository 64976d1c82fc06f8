"""The shared limits over HTTPS: the same scripts in a Redis that Upstash serves by REST."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from insight_cloud.core.errors import Unavailable
from insight_cloud.ratelimit.policy import Pair
from insight_cloud.ratelimit.redis import Answer
from insight_cloud.ratelimit.scripts import REFUND, WINDOW, Script, keys, numbers, rows

__all__ = ["Upstash"]

_UNKNOWN = "No matching script"
"""What Redis says of a script that it does not remember (any more)."""


class Upstash:
    """A store for `Limiter` at the REST endpoint `url`, opened by `token` (a right to write).

    One HTTPS request decides all policies of one request. Each call answers within
    `timeout_seconds` or raises `Unavailable`; after a failure, for `retry_seconds` at once.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        prefix: str = "insight:ratelimit:",
        timeout_seconds: float = 1.0,
        retry_seconds: float = 1.0,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._where = f"Upstash at {urlsplit(url).hostname}"
        self._prefix = prefix
        self._retry = retry_seconds
        self._clock = clock
        self._away_until = 0.0
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=timeout_seconds,
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def hit(self, pairs: Sequence[Pair], cost: int) -> Answer:
        """Admit and note when every policy admits, else deny; with cost 0, only look.

        Raises:
            Unavailable: nobody knows. It may have been noted.
        """
        names = keys(self._prefix, pairs)
        reply = await self._run(WINDOW, len(names), *names, cost, *numbers(pairs))
        return Answer(reply[1] == 1, pairs, rows(reply), (reply[0],) * len(pairs))

    async def refund(self, pairs: Sequence[Pair], stamps: Sequence[float], cost: int) -> None:
        """Give back what the hit with these `stamps` took.

        Raises:
            Unavailable: it may not have been given back.
        """
        names = keys(self._prefix, pairs)
        await self._run(REFUND, len(names), *names, stamps[0], cost)

    async def reset(self, pairs: Sequence[Pair]) -> None:
        """Forget the pairs.

        Raises:
            Unavailable: they may not be forgotten.
        """
        self._result(await self._post("DEL", *keys(self._prefix, pairs)))

    async def _run(self, script: Script, *rest: str | float) -> Any:
        answer = await self._post("EVALSHA", script.sha.decode(), *rest)
        if _UNKNOWN in str(answer.get("error", "")):
            answer = await self._post("EVAL", script.text.decode(), *rest)
        return self._result(answer)

    async def _post(self, *words: str | float) -> dict[str, Any]:
        if self._clock() < self._away_until:
            raise Unavailable(f"{self._where} was away a moment ago")
        try:
            response = await self._client.post("/", json=words)
            answer = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise self._away(type(error).__name__) from error
        if not isinstance(answer, dict) or response.status_code not in {200, 400}:
            raise self._away(f"HTTP {response.status_code}")
        return answer

    def _result(self, answer: dict[str, Any]) -> Any:
        if "result" not in answer:
            raise self._away(str(answer.get("error", "no result")))
        return answer["result"]

    def _away(self, reason: str) -> Unavailable:
        self._away_until = self._clock() + self._retry
        return Unavailable(f"{self._where} does not decide: {reason}")
