"""Built sites to deploy, and stores that are cut off on the way."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from insight_cloud.cdn import File, Found, Rules, Site, read_build
from insight_cloud.core.errors import Missing, Unavailable
from insight_cloud.core.storage import PLAIN, Attributes, Leftover, Object, Store

__all__ = ["NOW", "Build", "Watched", "contents", "deploy"]

NOW = datetime(2026, 11, 25, 10, 0, tzinfo=UTC)


class Build:
    """A directory such as a bundler leaves."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def fill(self) -> Build:
        style = self.style(b"body { color: red }" * 40)
        self.write("index.html", f'<link rel="stylesheet" href="{style}">')
        self.write("docs/index.html", f'<link rel="stylesheet" href="../{style}">')
        self.write("robots.txt", "User-agent: *")
        self.write("logo ü.svg", "<svg/>")
        return self

    def write(self, path: str, content: str | bytes) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)

    def style(self, content: bytes) -> str:
        """Write a stylesheet under a name with its hash, and its gzip beside it."""
        name = f"app.{hashlib.sha256(content).hexdigest()[:12]}.css"
        self.write(name, content)
        self.write(f"{name}.gz", gzip.compress(content, mtime=0))
        return name

    def restyle(self, content: bytes) -> str:
        """As a new release does: another stylesheet, and pages that name it."""
        for old in self.root.glob("app.*"):
            old.unlink()
        name = self.style(content)
        self.write("index.html", f'<link rel="stylesheet" href="{name}">')
        self.write("docs/index.html", f'<link rel="stylesheet" href="../{name}">')
        return name

    def read(self, rules: Rules | None = None) -> tuple[File, ...]:
        return read_build(self.root, rules or Rules())


class Watched(Store):
    """A store that counts what is written, and breaks before the n-th write."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.url = store.url
        self.written: list[str] = []
        self.deleted: list[str] = []
        self.break_before: int | None = None

    def _count(self, path: str) -> None:
        if self.break_before is not None and len(self.written) >= self.break_before:
            raise Unavailable("the network is gone")
        self.written.append(path)

    async def put(
        self,
        path: str,
        data: bytes | AsyncIterable[bytes],
        *,
        attributes: Attributes = PLAIN,
        expected_bytes: int | None = None,
    ) -> str:
        self._count(path)
        return await self._store.put(
            path, data, attributes=attributes, expected_bytes=expected_bytes
        )

    async def create(self, path: str, data: bytes, *, attributes: Attributes = PLAIN) -> str:
        self._count(path)
        return await self._store.create(path, data, attributes=attributes)

    async def replace(
        self, path: str, data: bytes, etag: str, *, attributes: Attributes = PLAIN
    ) -> str:
        self._count(path)
        return await self._store.replace(path, data, etag, attributes=attributes)

    async def head(self, path: str) -> Object:
        return await self._store.head(path)

    async def read(self, path: str, *, limit_bytes: int = 16 * 1024 * 1024) -> bytes:
        return await self._store.read(path, limit_bytes=limit_bytes)

    def stream(
        self, path: str, *, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        return self._store.stream(path, start=start, length=length)

    def list(self, prefix: str = "") -> AsyncIterator[Object]:
        return self._store.list(prefix)

    async def delete(self, paths: Iterable[str]) -> None:
        wanted = [*paths]
        if wanted:
            self._count("delete")
        self.deleted += wanted
        await self._store.delete(wanted)

    async def leftovers(self) -> tuple[Leftover, ...]:
        return await self._store.leftovers()

    async def abort(self, leftover: Leftover) -> None:
        await self._store.abort(leftover)

    async def close(self) -> None:
        await self._store.close()

    def files(self) -> set[str]:
        """What was written, without the record of it."""
        return {path for path in self.written if path not in {".insight/cdn.json", "delete"}}


async def deploy(
    site: Site, files: Iterable[File], *, days: float = 0
) -> tuple[Found, tuple[str, ...]]:
    """Deploy some days after the first time; what was found before, and what was changed."""
    now = NOW + timedelta(days=days)
    found = await site.read()
    deployment = site.plan(files, found, now)
    await site.apply(deployment, found, now)
    return found, tuple(change.target for change in deployment.changes)


async def contents(store: Store) -> dict[str, bytes]:
    """Every object of a site but the record."""
    found = {}
    async for item in store.list():
        if not item.path.startswith(".insight/"):
            try:
                found[item.path] = b"".join([chunk async for chunk in store.stream(item.path)])
            except Missing:
                continue
    return found
