"""What is looked at: a deployment by its URL, database, folder and what else is known of it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from insight_cloud.core import process
from insight_cloud.core.errors import Missing
from insight_cloud.launch.file import LaunchFile
from insight_cloud.launch.items import Checklist

__all__ = ["Cloudflare", "NotRun", "Target"]

_SECRET_BYTES = 64 * 1024
_FILE_BYTES = 16 * 1024 * 1024


class NotRun(Exception):  # noqa: N818 - no error: the answer that the question could not be asked
    """What a probe needs is not there; the text says what, and how to give it."""


@dataclass(frozen=True, slots=True)
class Cloudflare:
    """The API of the edge: where, for which zone, with which token."""

    url: str
    zone: str
    token: str = field(repr=False)


@dataclass(eq=False)
class Target:
    """One deployment. What is None is not known, and what needs it is not run.

    `url` has no slash at the end. `path` is where programs are searched. `backups` returns what
    the backup stores hold, `edge_plan` what the edge would have to change: the wiring of this
    program gives them, and tests others. `samples` are earlier readings of the metrics.
    """

    now: datetime
    checklist: Checklist
    file: LaunchFile = field(default_factory=LaunchFile)
    url: str | None = None
    database_url: str | None = field(default=None, repr=False)
    redis_url: str | None = field(default=None, repr=False)
    folder: Path | None = None
    ca_file: Path | None = None
    cloudflare: Cloudflare | None = None
    backups: Callable[[], Awaitable[Any]] | None = None
    edge_plan: Callable[[], Awaitable[Any]] | None = None
    path: str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    computed: Mapping[str, Any] = field(default_factory=dict)
    samples: tuple[Mapping[str, Any], ...] = ()
    timeout_seconds: float = 10.0
    secrets: set[str] = field(default_factory=set, repr=False)
    shared: dict[str, asyncio.Task[Any]] = field(default_factory=dict, repr=False)

    def need_url(self) -> str:
        """The address, or the reason why nothing can be asked."""
        if self.url is None:
            raise NotRun("no address is known: give --url, or launch.url in launch.toml")
        return self.url

    def need_folder(self) -> Path:
        """The folder of the project."""
        if self.folder is None or not self.folder.is_dir():
            raise NotRun("no project folder is known: give --folder")
        return self.folder

    def need_database(self) -> str:
        """The address of the database."""
        if self.database_url is None:
            raise NotRun("no database is known: set DATABASE_URL")
        return self.database_url

    @property
    def host(self) -> str:
        """The host of the address."""
        return urlsplit(self.need_url()).hostname or ""

    @property
    def is_local(self) -> bool:
        """Whether the service runs on this machine, so that its machine can be looked at."""
        return self.file.values.get("local") is True or (
            self.url is not None and self.host in {"127.0.0.1", "::1", "localhost"}
        )

    def value(self, name: str) -> Any:
        """A value for probes: of launch.toml, computed, or the default.

        Raises:
            NotRun: nobody has said it.
        """
        known = self.checklist.values.get(name)
        found = self.file.values.get(name)
        if found is None:
            found = self.computed.get(name, None if known is None else known.default)
        if found is None:
            about = f" ({known.about})" if known else ""
            raise NotRun(f"values.{name} is not set in launch.toml{about}")
        if isinstance(found, Mapping) and set(found) == {"file"}:
            return self._from_file(name, str(found["file"]))
        return found

    def _from_file(self, name: str, place: str) -> Any:
        """A value that lies in a file: JSON as data, anything else as a secret text."""
        path = self.need_folder() / place
        try:
            data = path.read_bytes()
        except OSError as error:
            raise NotRun(f"values.{name}: cannot read {place}: {error.strerror}") from None
        if path.suffix == ".json" and len(data) <= _FILE_BYTES:
            try:
                return msgspec.json.decode(data)
            except msgspec.DecodeError as error:
                raise NotRun(f"values.{name}: {place} is no JSON: {error}") from None
        secret = data[:_SECRET_BYTES].decode("utf-8", "replace").strip()
        if secret:
            self.secrets.add(secret)
        return secret

    def trust(self) -> ssl.SSLContext:
        """What certificates of the deployment are verified with."""
        return ssl.create_default_context(cafile=self.ca_file)

    def hidden(self, text: str) -> str:
        """`text` without the secrets that were read."""
        for secret in sorted(self.secrets, key=len, reverse=True):
            text = text.replace(secret, "[secret]")
        return text

    async def once(self, name: str, make: Callable[[], Awaitable[Any]]) -> Any:
        """What `make` returns, made once for all probes that ask under `name`."""
        if name not in self.shared:
            self.shared[name] = asyncio.ensure_future(make())
        return await self.shared[name]


async def git_values(folder: Path | None, release: str | None) -> dict[str, Any]:
    """What Git says of the project: commit and release. Nothing where there is no Git."""
    found: dict[str, Any] = {}
    if release:
        found["release"] = release
    if folder is None:
        return found
    for name, command in (
        ("commit", ("rev-parse", "HEAD")),
        ("release", ("describe", "--tags", "--exact-match")),
    ):
        try:
            done = await process.run(
                ["git", "-C", folder, *command], timeout_seconds=10, output_bytes=4096
            )
        except Missing:
            return found
        if done.status == 0:
            found.setdefault(name, done.stdout.decode("utf-8", "replace").strip())
    if "release" in found:
        found["version"] = str(found["release"]).removeprefix("v")
    return found
