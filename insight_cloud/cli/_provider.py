"""GitHub and GitLab: the comments of one pull request, and the one of them that is ours."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias
from urllib.parse import quote

import httpx

from insight_cloud.core.errors import Missing, Refused, Unauthenticated, Unavailable

__all__ = ["APIS", "Comments", "Name"]

Name: TypeAlias = Literal["github", "gitlab"]
APIS: dict[Name, str] = {
    "github": "https://api.github.com",
    "gitlab": "https://gitlab.com/api/v4",
}
_PAGE = 100
_MOST_PAGES = 50


@dataclass(frozen=True, slots=True)
class _Comment:
    id: int
    body: str


class Comments:
    """The comments of pull request `number` of `repository` (`owner/name`, or a path at GitLab).

    Args:
        provider: whose API `url` is.
        url: the API, without a slash at the end.
        repository: which one.
        number: of the pull request or merge request.
        token: may read and write comments.
    """

    def __init__(self, provider: Name, url: str, repository: str, number: int, token: str) -> None:
        github = provider == "github"
        where = repository if github else quote(repository, safe="")
        self._all = (
            f"/repos/{where}/issues/{number}/comments"
            if github
            else f"/projects/{where}/merge_requests/{number}/notes"
        )
        self._one = f"/repos/{where}/issues/comments" if github else self._all
        self._change = "PATCH" if github else "PUT"
        headers = (
            {
                "authorization": f"Bearer {token}",
                "accept": "application/vnd.github+json",
                "x-github-api-version": "2022-11-28",
            }
            if github
            else {"private-token": token}
        )
        self._url = url.rstrip("/")
        self._http = httpx.AsyncClient(headers=headers, timeout=30)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def put(self, marker: str, body: str) -> Literal["created", "updated", "unchanged"]:
        """Make `body` the one comment that begins with `marker`.

        Two jobs at once may both find none: the later ones are removed by whoever sees them, the
        oldest stays. A comment of somebody else that begins like ours is left alone.

        Raises:
            Unauthenticated, Refused, Missing, Unavailable: the provider does not let us.
        """
        foreign: set[int] = set()
        for one in await self._find(marker):
            try:
                done = await self._update(one, body)
            except Refused:
                foreign.add(one.id)  # somebody else's that begins like ours
                continue
            await self._remove_later(marker, foreign | {one.id})
            return done
        made = await self._call("POST", self._all, json={"body": body})
        oldest = next((one for one in await self._find(marker) if one.id not in foreign), None)
        await self._remove_later(marker, foreign | {oldest.id if oldest else int(made["id"])})
        return "created"

    async def _update(self, one: _Comment, body: str) -> Literal["updated", "unchanged"]:
        if one.body.strip() == body.strip():
            return "unchanged"
        await self._call(self._change, f"{self._one}/{one.id}", json={"body": body})
        return "updated"

    async def _remove_later(self, marker: str, kept: set[int]) -> None:
        for one in await self._find(marker):
            if one.id not in kept:
                with contextlib.suppress(Refused, Missing):
                    await self._call("DELETE", f"{self._one}/{one.id}")

    async def _find(self, marker: str) -> list[_Comment]:
        found = [one async for one in self._comments() if one.body.startswith(marker)]
        return sorted(found, key=lambda one: one.id)

    async def _comments(self) -> AsyncIterator[_Comment]:
        for page in range(1, _MOST_PAGES + 1):
            answer = await self._call("GET", self._all, params={"per_page": _PAGE, "page": page})
            for one in answer:
                yield _Comment(int(one["id"]), str(one.get("body") or ""))
            if len(answer) < _PAGE:
                return

    async def _call(self, method: str, path: str, **request: Any) -> Any:
        try:
            answer = await self._http.request(method, self._url + path, **request)
            data = answer.json() if answer.content else None
        except (httpx.HTTPError, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise Unavailable(f"{self._url} does not answer: {reason}") from error
        if answer.is_success:
            return data
        said = data.get("message") if isinstance(data, dict) else None
        text = f"{self._url} answers {answer.status_code} to {method} {path}: {said or 'no reason'}"
        if answer.status_code == 401:
            raise Unauthenticated(f"{text}; is the token of the provider valid?")
        if answer.status_code == 403:
            raise Refused(f"{text}; the token must be allowed to write comments")
        if answer.status_code == 404:
            raise Missing(text)
        raise Unavailable(text)
