"""What is verified: an address, and whatever else somebody is able to show of a deployment."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from insight_cloud.core.errors import Invalid

if TYPE_CHECKING:
    import httpx

    from insight_cloud.backup import Job

__all__ = ["Subject"]

_CLIENT_SECONDS = 20


@dataclass(frozen=True)
class Subject:
    """A deployment. What is None is not there to be asked, and its checks are "not run".

    `pages` are the paths that people see, `openapi` the address of the API's description, searched
    at the usual places when None. `token` is sent as a bearer to the API only. `scratch` opens an
    empty server for restored backups. `project` is the folder with the source. Without `writes`
    nothing is asked that may change something: no accounts are made, no operation but GET is tried.

    Raises:
        Invalid: `url` is no address of a site.
    """

    url: str
    pages: tuple[str, ...] = ("/",)
    openapi: str | None = None
    token: str | None = field(default=None, repr=False)
    database_url: str | None = field(default=None, repr=False)
    migrations: Path | Traversable | None = None
    backup: Job | None = field(default=None, repr=False)
    scratch: Callable[[], AbstractAsyncContextManager[str]] | None = field(default=None, repr=False)
    project: Path | None = None
    osv_url: str | None = None
    ca_file: Path | None = None
    browser: Path = Path("/usr/bin/chromium")
    lighthouse: Path | None = None
    writes: bool = False
    short: bool = True

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
            raise Invalid(f"{self.url!r} is no address of a site, such as https://www.example.org")
        if parts.query or parts.fragment or parts.path.rstrip("/"):
            raise Invalid(f"{self.url!r}: give the site alone, and paths as pages")
        if wrong := next((page for page in self.pages if not page.startswith("/")), None):
            raise Invalid(f"the page {wrong!r} does not begin with /")
        object.__setattr__(self, "url", self.url.rstrip("/"))

    @property
    def host(self) -> str:
        """The name in the address."""
        return urlsplit(self.url).hostname or ""

    @property
    def secure(self) -> bool:
        """Whether it is asked by HTTPS."""
        return self.url.startswith("https:")

    def trust(self) -> ssl.SSLContext:
        """The certificates that are believed."""
        return ssl.create_default_context(cafile=self.ca_file)

    def client(self, *, api: bool = False) -> httpx.AsyncClient:
        """An HTTP client for the site; with `api` it shows the token."""
        import httpx

        headers = {"user-agent": "insight-verify"}
        if api and self.token is not None:
            headers["authorization"] = f"Bearer {self.token}"
        return httpx.AsyncClient(
            base_url=self.url,
            headers=headers,
            timeout=_CLIENT_SECONDS,
            verify=self.trust() if self.secure else False,
            trust_env=False,
        )
