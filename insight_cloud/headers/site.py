"""Asking a site what its score needs to know; httpx is imported here only."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from dataclasses import dataclass

import httpx

from insight_cloud.core.errors import Invalid, Unavailable
from insight_cloud.headers.score import PROBE_ORIGIN, Answer, Site

__all__ = ["read"]

_REDIRECTS = {301, 302, 303, 307, 308}
_MOST_REDIRECTS = 10
_BODY_BYTES = 2 * 1024 * 1024
_ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
_STANDARD_PORTS = {"http": 80, "https": 443}


async def read(
    url: str,
    *,
    preloaded: Iterable[str] = (),
    ca_file: str | None = None,
    timeout_seconds: float = 10,
    transport: httpx.AsyncBaseTransport | None = None,
) -> Site:
    """Ask for `url` over HTTP and HTTPS, for `/robots.txt`, and send a preflight.

    A URL with a port of its own is asked for by its own scheme only: nobody can know the
    port of the other one.

    Args:
        url: an absolute URL.
        preloaded: names that browsers know as HTTPS only.
        ca_file: certificates to trust instead of the usual ones.
        timeout_seconds: for each request.
        transport: another way to the site, `httpx.ASGITransport(app)` for one.

    Raises:
        Invalid: `url` is not an HTTP URL.
        Unavailable: neither scheme answers.
    """
    try:
        wanted = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise Invalid(f"{url!r} is no URL") from error
    if wanted.scheme not in _STANDARD_PORTS or not wanted.host:
        raise Invalid(f"{url!r} is no URL that begins with http:// or https://")
    trust = ssl.create_default_context(cafile=ca_file)
    async with _client(trust, timeout_seconds, transport) as client:
        try:
            return await _ask(client, wanted, frozenset(preloaded), verified=True)
        except _UnverifiedError:
            pass
    async with _client(_trusting_all(), timeout_seconds, transport) as client:
        return await _ask(client, wanted, frozenset(preloaded), verified=False)


class _UnverifiedError(Exception):
    """A certificate did not verify; ask again without looking at it, and say so."""


@dataclass(frozen=True, slots=True)
class _Route:
    answers: tuple[Answer, ...]
    reason: str = ""


def _client(
    trust: ssl.SSLContext, seconds: float, transport: httpx.AsyncBaseTransport | None
) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        headers={"accept": _ACCEPT, "user-agent": "insight-headers"},
        timeout=seconds,
        verify=trust,
        transport=transport,
        trust_env=False,
    )


def _trusting_all() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _ask(
    client: httpx.AsyncClient, url: httpx.URL, preloaded: frozenset[str], *, verified: bool
) -> Site:
    routes = {scheme: await _follow(client, start) for scheme, start in _starts(url).items()}
    http, https = (routes.get(scheme, _Route(())) for scheme in ("http", "https"))
    if not (http.answers or https.answers):
        reasons = "; ".join(route.reason for route in routes.values())
        raise Unavailable(f"{url} does not answer: {reasons}")
    last = httpx.URL((https.answers or http.answers)[-1].url)
    robots = await _follow(client, url.join("/robots.txt"))
    return Site(
        host=url.host,
        http=http.answers,
        https=https.answers,
        verified=verified,
        cors=await _preflight(client, last),
        others=robots.answers,
        preloaded=preloaded,
    )


def _starts(url: httpx.URL) -> dict[str, httpx.URL]:
    if url.port not in {None, _STANDARD_PORTS[url.scheme]}:
        return {url.scheme: url}
    return {scheme: url.copy_with(scheme=scheme, port=None) for scheme in _STANDARD_PORTS}


async def _follow(client: httpx.AsyncClient, url: httpx.URL) -> _Route:
    """Every answer from `url` on; none when one of them fails."""
    answers: list[Answer] = []
    while len(answers) <= _MOST_REDIRECTS:
        try:
            answer = await _answer(client, "GET", url)
            answers.append(answer)
            where = answer.value("location")
            if answer.status not in _REDIRECTS or not where:
                break
            url = url.join(where)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            _raise_unverified(error)
            return _Route((), f"{url.scheme}: {str(error) or type(error).__name__}")
    return _Route(tuple(answers))


async def _preflight(client: httpx.AsyncClient, url: httpx.URL) -> Answer | None:
    asked = {"origin": PROBE_ORIGIN, "access-control-request-method": "GET"}
    try:
        return await _answer(client, "OPTIONS", url, asked)
    except httpx.HTTPError as error:
        _raise_unverified(error)
        return None


async def _answer(
    client: httpx.AsyncClient, method: str, url: httpx.URL, headers: dict[str, str] | None = None
) -> Answer:
    async with client.stream(method, url, headers=headers) as response:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > _BODY_BYTES:
                break
        text = bytes(body[:_BODY_BYTES]).decode(_encoding(response), "replace")
        pairs = tuple((name.lower(), value) for name, value in response.headers.multi_items())
        return Answer(str(url), response.status_code, pairs, text)


def _encoding(response: httpx.Response) -> str:
    return response.charset_encoding or "utf-8"


def _raise_unverified(error: Exception) -> None:
    """Tell a certificate that does not verify from a server that does not answer."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise _UnverifiedError from error
        cause = cause.__cause__ or cause.__context__
