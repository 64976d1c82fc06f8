"""Questions to the site itself: does it work, and does the origin's certificate hold?"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx

__all__ = ["health", "origin_certificate"]

_TRIES = 3
_PAUSE_SECONDS = 1.0
_TIMEOUT_SECONDS = 10.0


async def health(
    url: str,
    *,
    ca_file: Path | None = None,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    transport: httpx.AsyncBaseTransport | None = None,
) -> str:
    """What is wrong with the answer of `url`; empty when it is 2xx within three tries."""
    said = ""
    verify = True if ca_file is None else ssl.create_default_context(cafile=ca_file)
    async with httpx.AsyncClient(
        timeout=_TIMEOUT_SECONDS, transport=transport, verify=verify
    ) as http:
        for number in range(_TRIES):
            if number:
                await sleep(_PAUSE_SECONDS)
            try:
                async with http.stream("GET", url) as answer:
                    if answer.is_success:
                        return ""
                    said = f"{url} answers HTTP {answer.status_code}"
            except httpx.HTTPError as error:
                said = f"{url} does not answer: {str(error) or type(error).__name__}"
    return said


async def origin_certificate(url: str, name: str, *, ca_file: Path | None = None) -> str:
    """Why `strict` would refuse the certificate of the origin `url` for `name`; empty when not.

    `ca_file` holds further authorities, such as that of Cloudflare's Origin CA.
    """
    parts = urlsplit(url)
    if parts.scheme != "https":
        return f"the origin {url} does not speak https"
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            _, writer = await asyncio.open_connection(
                parts.hostname, parts.port or 443, ssl=context, server_hostname=name
            )
    except ssl.SSLCertVerificationError as error:
        return f"the certificate of the origin {url} does not hold: {error.verify_message}"
    except (OSError, TimeoutError) as error:
        return f"the origin {url} cannot be reached: {str(error) or type(error).__name__}"
    writer.close()
    return ""
