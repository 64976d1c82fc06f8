"""Cloudflare: copies in its caches purged, softly or hard, by address, by tag, or all of them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

import httpx

from insight_cloud.core.errors import RateLimited, Refused, SettingsError, Unavailable

__all__ = ["API", "Cloudflare", "Mode", "call"]

API = "https://api.cloudflare.com/client/v4"

Mode = Literal["soft", "hard"]
"""`soft` marks copies as old: they are asked about, and sent meanwhile if that fails."""

_ITEMS = 100  # of one call, on every plan
_TRIES = 5
_LONGEST_WAIT = 60.0
_CALLS: Mapping[Mode, str] = {"soft": "invalidate_cache", "hard": "purge_cache"}

Sleep = Callable[[float], Awaitable[None]]


class Cloudflare:
    """The caches of one zone. The token needs the permission "Cache Purge"."""

    def __init__(
        self,
        token: str,
        zone: str,
        *,
        mode: Mode = "soft",
        api: str = API,
        timeout_seconds: float = 30.0,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        if re.fullmatch(r"[0-9a-f]{32}", zone) is None:
            raise SettingsError("a Cloudflare zone identifier has 32 hexadecimal digits")
        self._token = token
        self._url = f"{api.rstrip('/')}/zones/{zone}/{_CALLS[mode]}"
        self._timeout = timeout_seconds
        self._sleep = sleep

    async def purge(self, urls: Sequence[str]) -> None:
        """Purge addresses, a hundred by one call."""
        await self._purge("files", urls)

    async def purge_tags(self, tags: Sequence[str]) -> None:
        """Purge what was sent with one of these in its `Cache-Tag`."""
        await self._purge("tags", tags)

    async def purge_everything(self) -> None:
        """Purge the whole zone."""
        await self._send({"purge_everything": True})

    async def _purge(self, kind: str, items: Sequence[str]) -> None:
        for start in range(0, len(items), _ITEMS):
            await self._send({kind: list(items[start : start + _ITEMS])})

    async def _send(self, body: Mapping[str, Any]) -> None:
        async with httpx.AsyncClient(timeout=self._timeout) as client:
            await call(client, "POST", self._url, token=self._token, sleep=self._sleep, json=body)


async def call(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    token: str,
    sleep: Sleep = asyncio.sleep,
    **request: Any,
) -> Any:
    """Call Cloudflare's API, again for passing faults, and return the `result`.

    Raises:
        Refused: the token is not accepted, or the request is not; Cloudflare's reason is quoted.
        RateLimited: too many calls, and the pause that is asked for is long.
        Unavailable: it cannot be reached, or fails again and again.
    """
    place = url.partition("/client/v4")[2] or url
    problem: Exception = Unavailable(f"Cloudflare: {place}: no answer")
    for attempt in range(_TRIES):
        if attempt:
            await sleep(_pause(problem, attempt))
        try:
            answer = await client.request(
                method, url, headers={"authorization": f"Bearer {token}"}, **request
            )
        except httpx.HTTPError as error:
            problem = Unavailable(f"Cloudflare: {place}: {type(error).__name__}; try again")
            problem.__cause__ = error
            continue
        if answer.status_code == 429:
            problem = _too_many(place, answer)
            if problem.retry_after > _LONGEST_WAIT:
                break
        elif answer.status_code >= 500:
            problem = Unavailable(f"Cloudflare: {place}: answered {answer.status_code}; try again")
        else:
            return _result(place, answer)
    raise problem


def _pause(problem: Exception, attempt: int) -> float:
    return problem.retry_after if isinstance(problem, RateLimited) else 0.5 * 2**attempt


def _too_many(place: str, answer: httpx.Response) -> RateLimited:
    try:
        seconds = max(1.0, float(answer.headers.get("retry-after", "")))
    except ValueError:
        seconds = 5.0
    message = f"Cloudflare: {place}: too many calls; try again in {seconds:.0f} s"
    return RateLimited(message, retry_after=seconds)


def _result(place: str, answer: httpx.Response) -> Any:
    try:
        body = answer.json()
    except ValueError:
        body = {}
    if answer.is_success and isinstance(body, dict) and body.get("success") is True:
        return body.get("result")
    said = "; ".join(_reasons(body)) or "no reason given"
    advice = ""
    if answer.status_code in {401, 403}:
        advice = "; is the token valid, and does it have the permission for this?"
    raise Refused(f"Cloudflare: {place}: answered {answer.status_code}: {said}{advice}")


def _reasons(body: Any) -> list[str]:
    errors = body.get("errors") if isinstance(body, dict) else None
    return [
        f"{error.get('message', '')} ({error.get('code', '')})"[:200]
        for error in errors or []
        if isinstance(error, dict)
    ]
