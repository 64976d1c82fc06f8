"""The unfinished multipart uploads of an S3 bucket: found and aborted by signed raw requests.

Apart from `cloud`, because the library used there has no call for them, while S3 bills them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from urllib.parse import quote, urlencode
from xml.etree import ElementTree as ET

import httpx

from insight_cloud.core import sigv4
from insight_cloud.core.errors import Corrupt, Refused, SettingsError, Unavailable
from insight_cloud.core.storage.store import Leftover

__all__ = ["Uploads"]

_ANSWER_BYTES = 8 * 1024 * 1024  # a page of 1,000 uploads has less than one MiB
_PAGES = 1_000


class Uploads:
    """The unfinished uploads below `prefix` (empty, or with a slash at its end)."""

    def __init__(
        self,
        endpoint: str,
        bucket: str,
        prefix: str,
        *,
        key: sigv4.Key,
        region: str,
        connect_seconds: float,
        request_seconds: float,
    ) -> None:
        self._base = f"{endpoint.rstrip('/')}/{quote(bucket, safe='-_.~')}"
        self._url = f"s3://{bucket}"
        self._prefix = prefix
        self._key = key
        self._region = region
        self._timeout = httpx.Timeout(request_seconds, connect=connect_seconds)

    async def find(self) -> tuple[Leftover, ...]:
        """List them, page by page."""
        found: list[Leftover] = []
        query = {"uploads": "", "prefix": self._prefix}
        async with self._client() as client:
            for _ in range(_PAGES):
                page = _parse(await self._send(client, "GET", self._base, query), self._url)
                found += [self._leftover(upload) for upload in page.iter("Upload")]
                if page.findtext("IsTruncated") != "true":
                    return tuple(found)
                query |= {
                    "key-marker": page.findtext("NextKeyMarker") or "",
                    "upload-id-marker": page.findtext("NextUploadIdMarker") or "",
                }
        raise Corrupt(f"{self._url}: the list of unfinished uploads does not end")

    async def abort(self, leftover: Leftover) -> None:
        """Abort one; it may be gone already."""
        url = f"{self._base}/{quote(self._prefix + leftover.path, safe='/-_.~')}"
        async with self._client() as client:
            await self._send(client, "DELETE", url, {"uploadId": leftover.identifier})

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        try:
            async with httpx.AsyncClient(timeout=self._timeout) as client:
                yield client
        except httpx.HTTPError as error:
            raise Unavailable(f"{self._url}: {type(error).__name__}; try again") from error

    async def _send(
        self, client: httpx.AsyncClient, method: str, base: str, query: Mapping[str, str]
    ) -> bytes:
        url = f"{base}?{urlencode(query, quote_via=quote, safe='-_.~')}"
        headers = sigv4.sign(
            method, url, key=self._key, region=self._region, service="s3", now=datetime.now(UTC)
        )
        async with client.stream(method, url, headers=headers) as answer:
            body = bytearray()
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > _ANSWER_BYTES:
                    raise Corrupt(f"{self._url}: the list of unfinished uploads is too long")
        if answer.status_code == 404 and method == "DELETE":
            return b""
        if answer.is_success:
            return bytes(body)
        raise self._failure(answer.status_code, bytes(body))

    def _failure(self, status: int, body: bytes) -> Exception:
        if status == 404:
            return SettingsError(f"{self._url}: there is no such bucket")
        if status >= 500 or status == 429:
            return Unavailable(f"{self._url}: answered {status}; try again")
        code = body.partition(b"<Code>")[2].partition(b"</Code>")[0][:60].decode("ascii", "replace")
        return Refused(
            f"{self._url}: unfinished uploads: {status} {code}; allow "
            "s3:ListBucketMultipartUploads and s3:AbortMultipartUpload"
        )

    def _leftover(self, upload: ET.Element) -> Leftover:
        try:
            key, identifier = upload.findtext("Key") or "", upload.findtext("UploadId") or ""
            started = datetime.fromisoformat(upload.findtext("Initiated") or "")
        except ValueError as error:
            raise Corrupt(f"{self._url}: an unfinished upload without its start") from error
        return Leftover(key.removeprefix(self._prefix), identifier, started)


def _parse(body: bytes, url: str) -> ET.Element:
    """Read S3's XML without its namespace, which some servers leave out."""
    try:
        page = ET.fromstring(body)  # noqa: S314 - expat loads nothing, and limits expansion
    except ET.ParseError as error:
        raise Corrupt(f"{url}: the list of unfinished uploads is not XML") from error
    for element in page.iter():
        element.tag = element.tag.rpartition("}")[2]
    return page
