"""`Images`: the address that answers with an image in the width, quality and format asked for."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import parse_qsl

from insight_cloud.core.asgi import Receive, Scope, Send, send_problem
from insight_cloud.core.errors import InsightError, Invalid, RateLimited, Refused, Unavailable
from insight_cloud.images import variants
from insight_cloud.images.hot import Answer, Hot, answer
from insight_cloud.images.signature import Signer
from insight_cloud.images.sources import Found, Mounts
from insight_cloud.images.store import Store
from insight_cloud.images.variants import Format, Variant
from insight_cloud.images.workers import ENCODER, Workers

if TYPE_CHECKING:
    from insight_cloud.images.remote import Remote

__all__ = ["Images", "Stats", "digest"]

K = TypeVar("K")
T = TypeVar("T")

_LOOK_AGAIN_SECONDS = 1.0  # after which a local file is looked at again
_REFUSED_SECONDS = 60.0  # for which an image that cannot be decoded is not tried again
_DIGESTS = 10_000
_PARAMETERS = frozenset({"url", "w", "q", "f", "v", "s", "exp"})
_QUERY_BYTES = 4096
_FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(slots=True)
class Stats:
    """What happened since the start."""

    remembered: int = 0
    """Answers from memory."""
    stored: int = 0
    """Answers from the store."""
    made: int = 0
    """Answers that were encoded."""
    refused: int = 0
    """Questions that were answered with an error."""


@dataclass(frozen=True, slots=True)
class _Question:
    url: str
    variant: Variant
    version: str
    """The beginning of the source's digest, as the page knew it; empty if it did not say."""
    named: bool
    """Whether the format was asked for by name, so that `Accept` does not matter."""
    signature: str
    expires: int


class Images:
    """An ASGI application for one address: `?url=/static/cat.jpg&w=640&q=75`.

    `url` is a path below one of `mounts`, or an address that `remote` allows or that `signer`
    signed. `w` is one of `widths`, `q` 60, 75 or 85. `f` asks for a format; otherwise the first
    of `formats` that the browser accepts is sent, with `Vary: Accept`. `v`, the beginning of the
    source's digest, makes the answer immutable.

    Each image is made once, over all tasks and all processes that share `store`, and then
    answered from memory (`memory_bytes`) or the store. AVIF wider than `avif_width` would take
    seconds: WebP is sent instead. Errors are problem documents that nobody may cache.

    Opens `workers` and `remote`: use as `async with images:`.
    """

    def __init__(
        self,
        workers: Workers,
        mounts: Mounts,
        *,
        store: Store | None = None,
        remote: Remote | None = None,
        signer: Signer | None = None,
        formats: Sequence[Format] = ("webp", "avif"),
        widths: Sequence[int] = variants.WIDTHS,
        avif_width: int = 1920,
        max_age_seconds: int = 86_400,
        remote_seconds: float = 86_400,
        memory_bytes: int = 64 * 1024 * 1024,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._workers = workers
        self._mounts = mounts
        self._store = store
        self._remote = remote
        self._signer = signer
        self._formats = tuple(formats)
        self._widths = tuple(widths)
        self._avif_width = avif_width
        self._max_age = (
            f"public, max-age={max_age_seconds}, stale-while-revalidate={max_age_seconds}"
        )
        self._remote_seconds = remote_seconds
        self._clock = clock
        self._hot = Hot(memory_bytes)
        self._digests: OrderedDict[Found, str] = OrderedDict()
        self._fetched: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._refused: OrderedDict[str, tuple[Invalid, float]] = OrderedDict()
        self._flights: dict[str, asyncio.Task[Any]] = {}
        self._opened = contextlib.AsyncExitStack()
        self.stats = Stats()

    async def __aenter__(self) -> Self:
        await self._opened.enter_async_context(self._workers)
        if self._remote is not None:
            await self._opened.enter_async_context(self._remote)
        return self

    async def __aexit__(self, *_: object) -> None:
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
        await self._opened.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Answer a request."""
        if scope["type"] != "http":
            raise RuntimeError("images answer HTTP only; open them with `async with`")
        accept = known = b""
        for name, value in scope["headers"]:
            if name == b"accept":
                accept = value
            elif name == b"if-none-match":
                known = value
        question = (scope["query_string"], accept)
        found = self._hot.known(question, self._clock())
        if found is None:
            try:
                found = await self._answer(scope, question)
            except InsightError as error:
                self.stats.refused += 1
                await _send_problem(send, error)
                return
        else:
            self.stats.remembered += 1
        if known and _matches(known, found.etag):
            await send(found.not_modified)
            await send(_NOTHING)
            return
        await send(found.start)
        await send(_NOTHING if scope["method"] == "HEAD" else found.body)

    # -- from a question to its answer ---------------------------------------------------------

    async def _answer(self, scope: Scope, question: tuple[bytes, bytes]) -> Answer:
        if scope["method"] not in {"GET", "HEAD"}:
            raise _NotAllowed("images can only be read")
        query, accept = question
        asked = self._parse(query, str(accept, "latin-1"))
        source = await self._digest(asked)
        versioned = len(asked.version) >= 8 and source.startswith(asked.version)
        key = _key(source, asked.variant)
        place = f"{key}{versioned:d}{asked.named:d}"
        found = self._hot.get(place)
        if found is None:
            form, data = await self._once(key, lambda: self._picture(key, asked, source))
            max_age = _FOR_EVER if versioned else self._max_age
            found = answer(form, data, max_age=max_age, vary=not asked.named)
            self._hot.put(place, found)
        self._hot.remember(question, place, self._clock() + _LOOK_AGAIN_SECONDS)
        return found

    def _parse(self, query: bytes, accept: str) -> _Question:
        if len(query) > _QUERY_BYTES:
            raise Invalid(f"the query has more than {_QUERY_BYTES} bytes")
        pairs = parse_qsl(str(query, "latin-1"), keep_blank_values=True, max_num_fields=16)
        given = dict(pairs)
        if len(given) < len(pairs) or not given.keys() <= _PARAMETERS:
            raise Invalid(f"an image is asked for with {', '.join(sorted(_PARAMETERS))}, each once")
        if not given.get("url") or not given.get("w"):
            raise Invalid("an image is asked for with url= and w=")
        named = bool(given.get("f"))
        form = (
            variants.parse_format(given["f"]) if named else variants.choose(accept, self._formats)
        )
        width = variants.parse_width(given["w"], self._widths)
        if form == "avif" and width > self._avif_width:
            form = "webp"
        expires = given.get("exp") or "0"
        if not (expires.isascii() and expires.isdigit() and len(expires) < 12):
            raise Invalid("exp is a Unix time")
        return _Question(
            given["url"],
            Variant(width, variants.parse_quality(given.get("q", "")), form),
            given.get("v", ""),
            named,
            given.get("s", ""),
            int(expires),
        )

    async def _digest(self, asked: _Question) -> str:
        """The hash of the source as it is now; of a remote one, as it was a while ago."""
        if asked.url.startswith("/") and not asked.url.startswith(("//", "/\\")):
            found = await asyncio.to_thread(self._mounts.find, asked.url)
            if found not in self._digests:
                data = await asyncio.to_thread(self._mounts.read, found, self._workers.limits.size)
                _keep(self._digests, found, _hash(data))
            return self._digests[found]
        if self._remote is None:
            raise Refused("images of other hosts are not served here")
        self._may_fetch(self._remote, asked)
        digest, until = self._fetched.get(asked.url, ("", 0.0))
        if until < self._clock():
            digest = _hash(await self._source(asked))
            _keep(self._fetched, asked.url, (digest, self._clock() + self._remote_seconds))
        return digest

    def _may_fetch(self, remote: Remote, asked: _Question) -> None:
        if asked.signature and self._signer is not None:
            self._signer.check(asked.url, asked.signature, asked.expires, self._clock())
        elif not remote.allows(asked.url):
            raise Refused("images of that address are not served here")

    async def _source(self, asked: _Question) -> bytes:
        """The bytes of the source; those of a remote one are kept, so all widths share them."""
        if asked.url.startswith("/"):
            found = await asyncio.to_thread(self._mounts.find, asked.url)
            return await asyncio.to_thread(self._mounts.read, found, self._workers.limits.size)
        key = _hash(b"source " + asked.url.encode())
        return await self._once(key, lambda: self._fetch(key, asked.url))

    async def _fetch(self, key: str, url: str) -> bytes:
        assert self._remote is not None  # noqa: S101 - `_digest` has looked
        if self._store is None:
            return await self._remote.fetch(url)
        async with self._store.lock(key):
            data = await self._store.get(key, younger_than=self._remote_seconds)
            if data is None:
                data = await self._remote.fetch(url)
                await self._store.put(key, data)
            return data

    async def _picture(self, key: str, asked: _Question, digest: str) -> tuple[str, bytes]:
        """The format and bytes of a variant: kept, or made by whoever is first."""
        if self._store is None:
            return await self._make(asked, digest)
        kept = await self._store.get(key)
        if kept is None:
            async with self._store.lock(key):
                kept = await self._store.get(key)
                if kept is None:
                    form, data = await self._make(asked, digest)
                    await self._store.put(key, form.encode() + b"\n" + data)
                    return form, data
        self.stats.stored += 1
        name, _, data = kept.partition(b"\n")
        return name.decode(), data

    async def _make(self, asked: _Question, digest: str) -> tuple[str, bytes]:
        error, until = self._refused.get(digest, (None, 0.0))
        if error is not None and until > self._clock():
            raise error
        source = await self._source(asked)
        try:
            picture = await self._workers.make(source, [asked.variant])
        except Invalid as refusal:
            # It may have cost a process: it is not tried again at once.
            _keep(self._refused, digest, (refusal, self._clock() + _REFUSED_SECONDS))
            raise
        self.stats.made += 1
        return picture.made[0].format, picture.made[0].data

    async def _once(self, key: str, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Let all who ask for `key` at the same time share one `make`.

        It goes on when whoever asked first goes away: the others wait for it.
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.create_task(make())
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._landed(key, done))
        result: T = await asyncio.shield(flight)
        return result

    def _landed(self, key: str, flight: asyncio.Task[Any]) -> None:
        del self._flights[key]
        if not flight.cancelled():
            flight.exception()  # seen, also when everybody has gone away


class _NotAllowed(Refused):
    http_status = 405
    title = "Not allowed"


_NOTHING = {"type": "http.response.body", "body": b""}


def _matches(given: bytes, etag: str) -> bool:
    tags = (tag.strip().removeprefix("W/") for tag in str(given, "latin-1").split(","))
    return any(tag in {etag, "*"} for tag in tags)


def digest(source: bytes) -> str:
    """Return the digest of a source; an address whose `v` begins it is kept for ever."""
    return _hash(source)


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=20).hexdigest()


def _key(digest: str, variant: Variant) -> str:
    words = f"{ENCODER} {digest} {variant.width} {variant.quality} {variant.format}"
    return _hash(words.encode())


def _keep(table: OrderedDict[K, T], key: K, value: T) -> None:
    table[key] = value
    if len(table) > _DIGESTS:
        table.popitem(last=False)


async def _send_problem(send: Send, error: InsightError) -> None:
    status = error.http_status
    body = json.dumps(
        {"type": "about:blank", "title": error.title, "status": status, "detail": str(error)}
    ).encode()
    headers = [(b"x-content-type-options", b"nosniff")]
    if isinstance(error, Unavailable | RateLimited):
        headers.append((b"retry-after", str(max(1, math.ceil(error.retry_after))).encode()))
    if isinstance(error, _NotAllowed):
        headers.append((b"allow", b"GET, HEAD"))
    await send_problem(send, status, body, headers)
