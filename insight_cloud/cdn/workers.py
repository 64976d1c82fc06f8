"""Cloudflare Workers' static assets as the place of a site, deployed by API without Node.

A deployment here is one version: Cloudflare takes the list of all files, asks for those that it
does not have, and switches at once. So nothing is ever half-deployed, and nothing is purged.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

import httpx

from insight_cloud.cdn.cloudflare import API, call
from insight_cloud.cdn.deployment import Deployment, plan
from insight_cloud.cdn.files import IMMUTABLE, File, send
from insight_cloud.cdn.record import RECORD, Known, decode, encode
from insight_cloud.cdn.site import Found, Outcome, Progress
from insight_cloud.core.errors import Corrupt, Refused, SettingsError, TooLarge, Unavailable
from insight_cloud.core.report import Check

__all__ = ["Workers", "headers_text"]

_FILE_BYTES = 25 * 1024 * 1024
_FILES = 20_000  # of the free plan
_RULES = 100
_RECORD_BYTES = 64 * 1024 * 1024
_COMPATIBLE = "2026-01-01"


class Workers:
    """The assets of the Worker `script`, which people reach at `base_url`.

    The token needs the permission "Workers Scripts: Edit". What is deployed is read from the
    site itself, where the record lies as one more file.
    """

    def __init__(
        self,
        token: str,
        account: str,
        script: str,
        *,
        base_url: str,
        keep: timedelta = timedelta(days=30),
        api: str = API,
        timeout_seconds: float = 60.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if re.fullmatch(r"[0-9a-f]{32}", account) is None:
            raise SettingsError("a Cloudflare account identifier has 32 hexadecimal digits")
        if re.fullmatch(r"[a-z0-9_][a-z0-9_-]{0,62}", script) is None:
            raise SettingsError(f"{script[:70]!r} is no name of a Worker: small letters, digits, -")
        if not base_url:
            raise SettingsError("a Worker's site needs its base_url, to read what is deployed")
        self._token = token
        self._account = f"{api.rstrip('/')}/accounts/{account}"
        self._script = script
        self._base_url = base_url.rstrip("/")
        self._keep = keep
        self._timeout = timeout_seconds
        self._sleep = sleep

    async def read(self) -> Found:
        """Read the record from the site as it is served."""
        url = f"{self._base_url}/{RECORD}"
        try:
            async with httpx.AsyncClient(timeout=self._timeout) as client:
                answer = await client.get(url, headers={"cache-control": "no-cache"})
        except httpx.HTTPError as error:
            raise Unavailable(f"{url}: {type(error).__name__}; try again") from error
        if answer.status_code == 404:
            return Found()
        if not answer.is_success or len(answer.content) > _RECORD_BYTES:
            raise Unavailable(f"{url}: answered {answer.status_code}; is base_url right?")
        try:
            record = decode(answer.content, self._base_url)
        except Corrupt:
            if "html" in answer.headers.get("content-type", ""):
                return Found()  # a site that answers every address with a page
            raise
        return Found(record, "", {path: one.size for path, one in record.files.items()})

    def plan(self, wanted: Iterable[File], found: Found, now: datetime) -> Deployment:
        """Say what a deployment would do. Compressed forms are left out: Cloudflare makes them.

        Raises:
            TooLarge: a file, or the number of files, is more than a Worker may have.
        """
        files = [file for file in wanted if not file.attributes.content_encoding]
        for file in files:
            if file.size > _FILE_BYTES:
                raise TooLarge(f"{file.path} has {file.size:,} bytes; a Worker takes 25 MiB a file")
        if len(files) > _FILES:
            raise TooLarge(f"{len(files):,} files; a Worker takes {_FILES:,}")
        return plan(files, found.record, found.sizes or {}, now, keep=self._keep)

    async def apply(
        self,
        deployment: Deployment,
        found: Found,
        now: datetime,
        *,
        progress: Progress = lambda _done, _total: None,
    ) -> Outcome:
        """Deploy one version with everything that is wanted, and what is kept of earlier ones.

        Raises:
            Refused: Cloudflare does not accept the token or the files.
            Conflict: a file of the build changed since the plan.
        """
        del found, now
        if not deployment.changes:
            return Outcome(0, 0, 0, 0, 0.0)
        begun = time.monotonic()
        async with httpx.AsyncClient(timeout=self._timeout) as client:
            version = _Version(deployment)
            session = await self._session(client, version)
            missing = version.forget_unknown(session["buckets"])
            if missing:  # of an earlier release, and Cloudflare does not have them any more
                session = await self._session(client, version)
            jwt, sent = await self._upload(client, version, session, progress)
            await self._switch(client, version, jwt)
        return Outcome(sent[0], sent[1], len(deployment.removed), 0, time.monotonic() - begun)

    async def check(self, found: Found, now: datetime, *, verify: bool = False) -> list[Check]:
        """Say whether a site is deployed; `verify` fetches all of it."""
        del now
        record = found.record
        if record.deployed is None:
            return [Check("cdn.deployed", "fail", f"nothing was deployed to {self._base_url}")]
        checks = [
            Check(
                "cdn.deployed",
                "pass",
                f"{len(record.files)} files since {record.deployed:%Y-%m-%d %H:%M} UTC",
            )
        ]
        return [*checks, await self._verified(record.files)] if verify else checks

    async def _session(self, client: httpx.AsyncClient, version: _Version) -> dict[str, Any]:
        url = f"{self._account}/workers/scripts/{self._script}/assets-upload-session"
        body = {"manifest": version.manifest()}
        session = await self._call(client, "POST", url, json=body)
        if not isinstance(session, dict) or not isinstance(session.get("jwt"), str):
            raise Unavailable("Cloudflare: the upload session has no token; try again")
        return {"jwt": session["jwt"], "buckets": session.get("buckets") or []}

    async def _upload(
        self,
        client: httpx.AsyncClient,
        version: _Version,
        session: Mapping[str, Any],
        progress: Progress,
    ) -> tuple[str, tuple[int, int]]:
        """Send what Cloudflare asks for, as it groups it; the token of the complete set."""
        jwt, count, done = str(session["jwt"]), 0, 0
        total = sum(version.sizes[name] for bucket in session["buckets"] for name in bucket)
        for bucket in session["buckets"]:
            parts = [(name, (name, *await version.part(name))) for name in bucket]
            answer = await call(
                client,
                "POST",
                f"{self._account}/workers/assets/upload?base64=true",
                token=session["jwt"],
                sleep=self._sleep,
                files=parts,
            )
            jwt = (answer or {}).get("jwt") or jwt
            count += len(bucket)
            done += sum(version.sizes[name] for name in bucket)
            progress(done, total)
        return jwt, (count, done)

    async def _switch(self, client: httpx.AsyncClient, version: _Version, jwt: str) -> None:
        metadata = {
            "compatibility_date": _COMPATIBLE,
            "assets": {"jwt": jwt, "config": {"_headers": version.headers}},
        }
        url = f"{self._account}/workers/scripts/{self._script}"
        part = ("metadata", (None, json.dumps(metadata), "application/json"))
        await self._call(client, "PUT", url, files=[part])

    async def _call(self, client: httpx.AsyncClient, method: str, url: str, **request: Any) -> Any:
        return await call(client, method, url, token=self._token, sleep=self._sleep, **request)

    async def _verified(self, files: Mapping[str, Known]) -> Check:
        wrong = []
        async with httpx.AsyncClient(timeout=self._timeout, follow_redirects=True) as client:
            for path, one in files.items():
                try:
                    answer = await client.get(f"{self._base_url}/{path}")
                except httpx.HTTPError as error:
                    raise Unavailable(f"{self._base_url}: {type(error).__name__}") from error
                if hashlib.sha256(answer.content).hexdigest() != one.sha256:
                    wrong.append(path)
        if wrong:
            return Check("cdn.content", "fail", f"{len(wrong)} differ: {', '.join(wrong[:5])}")
        return Check("cdn.content", "pass", "every byte is as deployed")


class _Version:
    """One version on its way: names that Cloudflare knows files by, and where their bytes are."""

    def __init__(self, deployment: Deployment) -> None:
        self._files = {file.path: file for file in deployment.wanted}
        self._record = deployment.after
        self.headers = headers_text(self._record.files)
        self.sizes: dict[str, int] = {}
        self._paths: dict[str, str] = {}
        self._body = b""

    def manifest(self) -> dict[str, dict[str, Any]]:
        """List every file with its size; the record is one of them."""
        self._body = encode(self._record)
        known = {path: (one.sha256, one.size) for path, one in self._record.files.items()}
        known[RECORD] = (hashlib.sha256(self._body).hexdigest(), len(self._body))
        listed = {}
        for path, (sha256, size) in known.items():
            name = _name(path, sha256)
            self.sizes[name], self._paths[name] = size, path
            listed[f"/{path}"] = {"hash": name, "size": size}
        return listed

    def forget_unknown(self, buckets: Sequence[Sequence[str]]) -> list[str]:
        """Drop what we are asked for and have only heard of; the paths."""
        unknown = [
            path
            for bucket in buckets
            for name in bucket
            if (path := self._path(name)) not in self._files and path != RECORD
        ]
        kept = {path: one for path, one in self._record.files.items() if path not in unknown}
        self._record = replace(self._record, files=kept)
        return unknown

    async def part(self, name: str) -> tuple[str, str]:
        """Return a file in base64, and its type."""
        path = self._path(name)
        if path == RECORD:
            return base64.b64encode(self._body).decode(), "application/json"
        file = self._files[path]
        body = b"".join([chunk async for chunk in send(file)])
        return base64.b64encode(body).decode(), file.attributes.content_type

    def _path(self, name: str) -> str:
        path = self._paths.get(name)
        if path is None:
            raise Refused(f"Cloudflare asks for a file {name[:40]!r} that was not listed")
        return path


def headers_text(files: Mapping[str, Known]) -> str:
    """Return the `_headers` of a version: which files never change, by folder where that will do.

    Cloudflare reads a hundred rules; without one a file is asked about each time, which is slower
    and never wrong.
    """
    folders: dict[str, list[str]] = {}
    for path in files:
        folders.setdefault(str(PurePosixPath(path).parent), []).append(path)
    whole, single = [], []
    for folder, paths in sorted(folders.items()):
        constant = [path for path in paths if files[path].cache_control == IMMUTABLE]
        alone = not any(other.startswith(f"{folder}/") for other in folders)
        if folder != "." and alone and len(constant) == len(paths):
            whole.append(f"/{folder}/*")
        else:
            single += [f"/{path}" for path in sorted(constant)]
    rules = [*whole, *single][:_RULES]
    return "".join(f"{rule}\n  Cache-Control: {IMMUTABLE}\n" for rule in rules)


def _name(path: str, sha256: str) -> str:
    """Of 32 digits; the same bytes under another ending have another type, so another name."""
    text = f"{sha256}{PurePosixPath(path).suffix}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]
