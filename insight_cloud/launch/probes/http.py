"""Asks over HTTP and returns what came back: `http` the deployment, `cloudflare` the edge's API."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import msgspec

from insight_cloud.core.errors import Corrupt, Unavailable
from insight_cloud.launch.target import NotRun, Target

__all__ = ["read_cloudflare", "read_http"]

_BODY_BYTES = 2 * 1024 * 1024
_MOST_REQUESTS = 200
_MOST_ASSETS = 60
_ASSET = re.compile(
    r"""<(?:script|img)[^>]+?src=["']([^"'#]+)|<link[^>]+?href=["']([^"'#]+\.(?:css|js|woff2))""",
    re.IGNORECASE,
)
_FIELD = re.compile(r"^([A-Za-z][A-Za-z-]{1,40}):[ \t]*(\S.*)$", re.MULTILINE)
_MAX_AGE = re.compile(r"(?:^|[,;]\s*)max-age\s*=\s*\"?(\d{1,12})", re.IGNORECASE)


async def read_http(target: Target, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Send `requests` one after the other and return each answer; cookies are kept between them.

    A request is a path, or a table: `path` or whole `url`, `method`, `headers`, `json`, `form`,
    `text`, `body_bytes` (so many zeros), `times` (answers are summed up), `assets` (what the page
    refers to is asked for as well), `cookies_after` (sends the cookies as they stood after that
    request, whatever was changed since), `may_fail` (no answer is status 0). `plain` asks over
    http, `origin` asks there instead of the deployment.
    """
    requests = parameters["requests"]
    if not isinstance(requests, list) or not 0 < len(requests) <= _MOST_REQUESTS:
        raise Corrupt(f"`requests` lists 1 to {_MOST_REQUESTS} requests")
    asked = [{"path": one} if isinstance(one, str) else one for one in requests]
    base = str(parameters.get("origin") or "")
    if not base and any("url" not in one for one in asked):
        base = target.need_url()
    if parameters.get("plain"):
        base = _plain(target)
    answers: list[dict[str, Any]] = []
    jars: list[dict[str, str]] = []
    async with _client(target) as client:
        for one in asked:
            answers.append(await _ask(client, base, one, jars))
            jars.append(dict(client.cookies))
    return answers


async def read_cloudflare(target: Target, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Ask the edge's API, read only: each of `paths` below the zone."""
    edge = target.cloudflare
    if edge is None:
        raise NotRun("no edge is known: set CLOUDFLARE_API_TOKEN and CLOUDFLARE_ZONE_ID")
    target.secrets.add(edge.token)
    headers = {"authorization": f"Bearer {edge.token}"}
    base = f"{edge.url.rstrip('/')}/zones/{edge.zone}/"
    async with _client(target) as client:
        return [
            await _ask(client, "", {"url": base + path, "headers": headers}, [])
            for path in parameters["paths"]
        ]


def _plain(target: Target) -> str:
    """The same site over plain http, at the usual port or where values.plain_url says."""
    given = target.file.values.get("plain_url")
    parts = urlsplit(target.need_url())
    if given is None and (parts.scheme != "https" or parts.port not in {None, 443}):
        raise NotRun("nobody says where the plain http of the site is: set values.plain_url")
    return str(given or f"http://{parts.hostname}").rstrip("/")


def _client(target: Target) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        verify=target.trust(),
        timeout=target.timeout_seconds,
        follow_redirects=False,
        trust_env=False,
        headers={"user-agent": "insight-launch"},
    )


async def _ask(
    client: httpx.AsyncClient, base: str, one: Mapping[str, Any], jars: list[dict[str, str]]
) -> dict[str, Any]:
    times = int(one.get("times", 1))
    if not 0 < times <= _MOST_REQUESTS:
        raise Corrupt(f"`times` is 1 to {_MOST_REQUESTS}")
    answers = [await _answer(client, base, one, jars) for _ in range(times)]
    found = answers[-1]
    if times > 1:
        seconds = sorted(answer["seconds"] for answer in answers)
        found["statuses"] = [answer["status"] for answer in answers]
        found["p99_seconds"] = seconds[min(len(seconds) - 1, int(len(seconds) * 0.99))]
    if one.get("assets"):
        found["assets"] = await _assets(client, str(found["url"]), str(found["text"]))
    return found


async def _answer(
    client: httpx.AsyncClient, base: str, one: Mapping[str, Any], jars: list[dict[str, str]]
) -> dict[str, Any]:
    url = str(one["url"]) if "url" in one else base + str(one.get("path", "/"))
    headers = {str(name): str(value) for name, value in one.get("headers", {}).items()}
    if "cookies_after" in one:
        cookies = jars[int(one["cookies_after"])]
        headers["cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        client = _without_cookies(client)
    content = {name: one[name] for name in ("json",) if name in one}
    if "form" in one:
        content["data"] = one["form"]
    if "text" in one:
        content["content"] = str(one["text"])
    if "body_bytes" in one:
        content["content"] = bytes(int(one["body_bytes"]))
    began = time.perf_counter()
    try:
        async with client.stream(
            str(one.get("method", "GET")), url, headers=headers, **content
        ) as response:
            body = await _body(response)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        if one.get("may_fail"):
            return {"url": url, "status": 0, "problem": type(error).__name__, "headers": {}}
        raise Unavailable(f"{url} does not answer: {str(error) or type(error).__name__}") from error
    return _document(response, body, time.perf_counter() - began)


def _without_cookies(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """The same connections, and no jar that would add cookies of its own."""
    client.cookies.clear()
    return client


async def _body(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > _BODY_BYTES:
            break
    return bytes(body[:_BODY_BYTES])


def _document(response: httpx.Response, body: bytes, seconds: float) -> dict[str, Any]:
    headers = {name.lower(): value for name, value in response.headers.items()}
    text = body.decode("utf-8", "replace")
    found: dict[str, Any] = {
        "url": str(response.url),
        "status": response.status_code,
        "headers": headers,
        "text": text,
        "bytes": len(body),
        "seconds": round(seconds, 4),
        "cookies": [_cookie(line) for line in response.headers.get_list("set-cookie")],
        "csp": _policy(headers.get("content-security-policy", "")),
        "fields": {name.lower(): value.strip() for name, value in _FIELD.findall(text[:10_000])},
    }
    for name, header in (
        ("max_age", "cache-control"),
        ("hsts_seconds", "strict-transport-security"),
    ):
        if age := _MAX_AGE.search(headers.get(header, "")):
            found[name] = int(age[1])
    if "json" in headers.get("content-type", "") or text[:1] in {"{", "["}:
        with contextlib.suppress(msgspec.DecodeError):
            found["json"] = msgspec.json.decode(body)
    return found


def _cookie(line: str) -> dict[str, Any]:
    try:
        name, morsel = next(iter(SimpleCookie(line).items()))
    except (CookieError, StopIteration):
        return {"name": line.partition("=")[0], "broken": True}
    return {
        "name": name,
        "secure": bool(morsel["secure"]),
        "http_only": bool(morsel["httponly"]),
        "same_site": str(morsel["samesite"]).lower(),
        "path": morsel["path"],
    }


def _policy(text: str) -> dict[str, list[str]]:
    """The directives of a Content-Security-Policy; `scripts` are those that count for scripts."""
    parts = [part.split() for part in text.lower().split(";") if part.strip()]
    found = {words[0]: words[1:] for words in reversed(parts)}
    if scripts := found.get("script-src", found.get("default-src")):
        found["scripts"] = scripts
    return found


async def _assets(client: httpx.AsyncClient, url: str, page: str) -> list[dict[str, Any]]:
    """Ask for the scripts, styles and images of this site that a page refers to."""
    host = urlsplit(url).netloc
    places = dict.fromkeys(urljoin(url, one or other) for one, other in _ASSET.findall(page))
    ours = [place for place in places if urlsplit(place).netloc == host][:_MOST_ASSETS]
    at_once = asyncio.Semaphore(8)

    async def ask(place: str) -> dict[str, Any]:
        async with at_once:
            return await _answer(client, "", {"url": place}, [])

    return list(await asyncio.gather(*map(ask, ours)))
