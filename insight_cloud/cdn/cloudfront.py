"""Amazon CloudFront: copies in its caches invalidated, by one signed request.

With httpx and our own signature, because botocore would bring 100 MB for this one call.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit
from uuid import uuid4
from xml.etree import ElementTree as ET

import httpx

from insight_cloud.core import sigv4
from insight_cloud.core.errors import RateLimited, Refused, SettingsError, Unavailable

__all__ = ["CloudFront", "paths"]

API = "https://cloudfront.amazonaws.com"

_VERSION = "2020-05-31"
_SPACE = f"http://cloudfront.amazonaws.com/doc/{_VERSION}/"
_MOST_PATHS = 500  # of 3,000 that may be under way; and each beyond 1,000 a month is paid for
_TRIES = 4


class CloudFront:
    """The caches of one distribution. The key needs `cloudfront:CreateInvalidation`."""

    def __init__(
        self,
        distribution: str,
        key: sigv4.Key,
        *,
        api: str = API,
        timeout_seconds: float = 30.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if re.fullmatch(r"[A-Z0-9]{8,32}", distribution) is None:
            raise SettingsError("a CloudFront distribution is named like E2QWRUHAPOMQZL")
        self._key = key
        self._url = f"{api.rstrip('/')}/{_VERSION}/distribution/{distribution}/invalidation"
        self._name = f"CloudFront {distribution}"
        self._timeout = timeout_seconds
        self._sleep = sleep

    async def purge(self, urls: Sequence[str]) -> None:
        """Invalidate addresses; more than 500 become everything below what they share.

        Raises:
            Refused: the key is not accepted, or may not do this.
            RateLimited: too many invalidations are under way.
            Unavailable: it cannot be reached, or fails again and again.
        """
        if urls:
            await self._send(_body(paths(urls)))

    async def _send(self, body: bytes) -> None:
        problem: Exception = Unavailable(f"{self._name}: no answer")
        for attempt in range(_TRIES):
            if attempt:
                await self._sleep(2.0**attempt)
            try:
                answer = await self._post(body)
            except httpx.HTTPError as error:
                problem = Unavailable(f"{self._name}: {type(error).__name__}; try again")
                problem.__cause__ = error
                continue
            if answer.is_success:
                return
            problem = self._failure(answer)
            if isinstance(problem, Refused) and not isinstance(problem, RateLimited):
                break
        raise problem

    async def _post(self, body: bytes) -> httpx.Response:
        headers = sigv4.sign(
            "POST",
            self._url,
            key=self._key,
            region="us-east-1",  # where this service of all regions is
            service="cloudfront",
            now=datetime.now(UTC),
            body=body,
            headers={"content-type": "text/xml"},
        )
        async with httpx.AsyncClient(timeout=self._timeout) as client:
            return await client.post(self._url, content=body, headers=headers)

    def _failure(self, answer: httpx.Response) -> Exception:
        found = re.search(r"<Code>(\w{1,60})</Code>", answer.text[:10_000])
        code = found[1] if found else ""
        if code == "TooManyInvalidationsInProgress" or answer.status_code == 429:
            message = f"{self._name}: too many invalidations are under way; try again later"
            return RateLimited(message, retry_after=60.0)
        if answer.status_code >= 500 or code == "Throttling":
            return Unavailable(f"{self._name}: answered {answer.status_code} {code}; try again")
        return Refused(
            f"{self._name}: answered {answer.status_code} {code}; is the distribution's name "
            "right, and may the key create invalidations?"
        )


def paths(urls: Sequence[str]) -> list[str]:
    """Return what CloudFront calls these addresses: their paths, or one pattern for very many."""
    found = list(dict.fromkeys(urlsplit(url).path or "/" for url in urls))
    if len(found) <= _MOST_PATHS:
        return found
    first, last = min(found), max(found)
    shared = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)
    return [first[: first.rfind("/", 0, shared) + 1] + "*"]


def _body(wanted: Sequence[str]) -> bytes:
    """The batch. Its reference is new for each purge, and the same when the request is repeated."""
    batch = ET.Element("InvalidationBatch", xmlns=_SPACE)
    listed = ET.SubElement(batch, "Paths")
    ET.SubElement(listed, "Quantity").text = str(len(wanted))
    items = ET.SubElement(listed, "Items")
    for path in wanted:
        ET.SubElement(items, "Path").text = path
    ET.SubElement(batch, "CallerReference").text = uuid4().hex
    text: bytes = ET.tostring(batch, encoding="utf-8", xml_declaration=True)
    return text
