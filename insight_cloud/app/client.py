"""The HTTP client of a server: what the command line needs of the API, and whom it may tell."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import msgspec
import zstandard

from insight_cloud.core.errors import (
    Conflict,
    InsightError,
    Invalid,
    Missing,
    RateLimited,
    Refused,
    SettingsError,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from insight_cloud.settings import Settings

__all__ = ["Client", "Credentials", "Uploaded"]

_TRIES = 3
_NAMED = 10
"""Faults of a request that are named in an error; the rest is counted."""

_ERRORS: dict[int, type[InsightError]] = {
    401: Unauthenticated,
    403: Refused,
    404: Missing,
    409: Conflict,
    413: TooLarge,
    415: Invalid,
    422: Invalid,
}


class Credentials:
    """Tokens by server, in a file that only its owner can read.

    A token is sent only to the server that it was stored for: the settings of a repository
    that somebody else wrote cannot redirect it.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file or Path.home() / ".config" / "insight" / "credentials.json"

    def read(self) -> dict[str, str]:
        """Return the tokens by server URL.

        Raises:
            SettingsError: the file is not ours to read or not in its form.
        """
        try:
            return msgspec.json.decode(self.file.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError) as error:
            raise SettingsError(f"cannot read {self.file}: {error}; sign in again") from error

    def store(self, server: str, token: str) -> None:
        """Keep `token` for `server`; the file is replaced whole, never half-written."""
        tokens = self.read() | {server: token}
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self.file.with_suffix(f".{os.getpid()}")
        new.touch(mode=0o600)
        new.write_bytes(msgspec.json.format(msgspec.json.encode(tokens)))
        new.replace(self.file)

    def only_server(self) -> str | None:
        """Return the one server that there is a token for, if it is only one."""
        servers = list(self.read())
        return servers[0] if len(servers) == 1 else None


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What the server made of a log."""

    url: str
    new: int
    fixed: int
    reopened: int
    unchanged: int
    open: int
    complete: bool
    repeated: bool
    warnings_total: int
    verdict: str | None = None


class Client:
    """A connection to one server: `async with Client(server, token) as client: ...`."""

    def __init__(
        self,
        server: str,
        token: str | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.server = server_url(server)
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.AsyncClient(
            base_url=self.server,
            headers=headers,
            timeout=httpx.Timeout(120, connect=10),
            transport=transport,
        )

    @classmethod
    def from_settings(cls, settings: Settings, server: str | None = None) -> Client:
        """Reach the server that is named, set, or signed in to; in this order.

        Raises:
            SettingsError: no server is known, or no token for it.
        """
        stored = Credentials()
        wanted = server or settings.client.server or stored.only_server()
        if wanted is None:
            raise SettingsError("no server is known: run `insight login URL` first")
        wanted = server_url(wanted)
        given = settings.client.token
        token = given.get_secret_value() if given else stored.read().get(wanted)
        if token is None:
            raise SettingsError(f"there is no token for {wanted}: run `insight login {wanted}`")
        return cls(wanted, token)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def sign_in(self, email: str, password: str) -> None:
        """Use this person's rights from now on."""
        tokens = await self.call(
            "POST", "/api/v1/auth/token", json={"email": email, "password": password}
        )
        self._http.headers["authorization"] = f"Bearer {tokens['access_token']}"

    async def make_token(self, name: str, scopes: list[str]) -> str:
        """Make an API token and return it; the server will not show it again."""
        made = await self.call("POST", "/api/v1/tokens", json={"name": name, "scopes": scopes})
        return str(made["token"])

    async def me(self) -> dict[str, Any]:
        """Say whom the server takes us for."""
        me: dict[str, Any] = await self.call("GET", "/api/v1/me")
        return me

    async def upload(
        self,
        log: bytes,
        *,
        project: str,
        branch: str | None = None,
        commit: str = "",
        category: str = "",
        base: str | None = None,
        base_commit: str = "",
        pr: int | None = None,
        lines: int | None = None,
        media_type: str = "application/sarif+json",
    ) -> Uploaded:
        """Send a log; the server creates the project when it is new."""
        body = await asyncio.to_thread(zstandard.ZstdCompressor(level=9).compress, log)
        parameters = {
            "branch": branch,
            "commit": commit,
            "category": category,
            "base": base,
            "base_commit": base_commit,
            "pr": pr,
            "lines": lines,
        }
        answer = await self.call(
            "POST",
            f"/api/v1/projects/{project}/analyses",
            content=body,
            headers={"content-encoding": "zstd", "content-type": media_type},
            params={name: value for name, value in parameters.items() if value not in {None, ""}},
        )
        return _uploaded(answer)

    async def upload_counts(self, body: bytes, *, project: str) -> Uploaded:
        """Send numbers and nothing else; the server creates the project when it is new.

        Not compressed: whoever watches the line can see that it is nothing but numbers.
        """
        answer = await self.call(
            "POST",
            f"/api/v1/projects/{project}/snapshots",
            content=body,
            headers={"content-type": "application/json"},
        )
        return _uploaded(answer)

    async def hand_in(self, archive: bytes, *, project: str, **place: Any) -> dict[str, Any]:
        """Send an archive of code to be analysed there; return the source that it became."""
        made: dict[str, Any] = await self.call(
            "POST",
            f"/api/v1/projects/{project}/sources",
            content=archive,
            headers={"content-type": "application/octet-stream"},
            params={name: value for name, value in place.items() if value not in {None, ""}},
        )
        return made

    async def download(self, path: str, parameters: dict[str, Any]) -> AsyncIterator[bytes]:
        """Yield the parts of a long answer as they come.

        Raises:
            InsightError: as in `call`, or `Unavailable` where the answer breaks off.
        """
        try:
            async with self._http.stream("GET", path, params=parameters) as answer:
                if not answer.is_success:
                    await answer.aread()
                    raise _failure(answer, self.server)
                async for part in answer.aiter_bytes():
                    yield part
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            raise Unavailable(f"{self.server} broke off: {reason}") from error

    async def call(self, method: str, path: str, **request: Any) -> Any:
        """Make one request; wait and try again while the server is not available.

        Raises:
            InsightError: the kind that fits the answer, with the server's own words.
        """
        for _ in range(_TRIES - 1):
            try:
                return await self._once(method, path, **request)
            except Unavailable as error:
                await asyncio.sleep(min(error.retry_after, 10))
        return await self._once(method, path, **request)

    async def _once(self, method: str, path: str, **request: Any) -> Any:
        try:
            answer = await self._http.request(method, path, **request)
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            raise Unavailable(f"cannot reach {self.server}: {reason}") from error
        if not answer.is_success:
            raise _failure(answer, self.server)
        return msgspec.json.decode(answer.content) if answer.content else None


def _uploaded(answer: Any) -> Uploaded:
    analysis = answer["analysis"]
    counts = ("new", "fixed", "reopened", "unchanged", "open", "complete", "warnings_total")
    return Uploaded(
        url=answer["url"],
        repeated=answer["repeated"],
        verdict=analysis["verdict"],
        **{name: analysis[name] for name in counts},
    )


def server_url(text: str) -> str:
    """Return `text` as a server's URL without a slash at the end.

    Raises:
        SettingsError: it is no http or https URL.
    """
    parts = urlsplit(text if "//" in text else f"http://{text}")
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
        raise SettingsError(f"{text!r} is not the URL of a server, as in https://insight.example")
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")


def _failure(answer: httpx.Response, server: str) -> InsightError:
    try:
        problem = msgspec.json.decode(answer.content, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem(detail=f"{server} answered {answer.status_code} {answer.reason_phrase}")
    named = [f"{e.pointer}: {e.detail}" for e in problem.errors[:_NAMED]]
    if len(problem.errors) > _NAMED:
        named.append(f"and {len(problem.errors) - _NAMED} more")
    message = "; ".join([problem.detail, *named])
    retry_after = answer.headers.get("retry-after", "")
    wait = float(retry_after) if retry_after.isdecimal() else 1.0
    if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
        return RateLimited(message, retry_after=wait)
    if answer.status_code in _ERRORS:
        return _ERRORS[answer.status_code](message)
    return Unavailable(message, retry_after=wait)


class _Fault(msgspec.Struct):
    pointer: str = ""
    detail: str = ""


class _Problem(msgspec.Struct):
    detail: str = ""
    errors: list[_Fault] = []
