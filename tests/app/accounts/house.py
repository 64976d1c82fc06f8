"""The application with accounts and projects only, its clock, and the people who use it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

import httpx
from fastapi import FastAPI

from insight_cloud.app import api
from insight_cloud.app.accounts import routes as accounts
from insight_cloud.app.accounts import service
from insight_cloud.app.accounts.models import Caller, Session
from insight_cloud.app.projects import routes as projects
from insight_cloud.database import Pool
from insight_cloud.settings import AccountsSettings, Settings

PASSWORD = "a long enough secret"
SAME_SITE = {"sec-fetch-site": "same-origin"}


class House:
    """What a test talks to: `http` as anybody, `bearer` as somebody, `context` from inside."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.time = datetime(2026, 3, 1, 12, tzinfo=UTC)
        self.context = api.Context(pool, Settings(), now=lambda: self.time)
        self.app = FastAPI()
        api.install(self.app)
        self.app.include_router(accounts.router)
        self.app.include_router(projects.router)
        self.app.state.context = self.context
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url="https://insight.test"
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.http.aclose()

    def close_registration(self) -> None:
        settings = Settings(accounts=AccountsSettings(registration="closed"))
        self.context = api.Context(self.pool, settings, now=lambda: self.time)
        self.app.state.context = self.context

    def later(self, **delta: float) -> None:
        """Move the clock."""
        self.time += timedelta(**delta)

    async def user(self, name: str, *, is_admin: bool = False) -> None:
        """Make an account for `name`@example.com."""
        await service.add_user(
            self.context,
            email=f"{name}@example.com",
            name=name.title(),
            password=PASSWORD,
            is_admin=is_admin,
        )

    async def session(self, name: str) -> Session:
        """Sign `name` in with a browser."""
        return await service.sign_in(
            self.context, email=f"{name}@example.com", password=PASSWORD, user_agent="test"
        )

    async def person(self, name: str, *, is_admin: bool = False) -> dict[str, str]:
        """Make an account and sign in; the headers that prove it."""
        await self.user(name, is_admin=is_admin)
        tokens = await service.tokens(self.context, email=f"{name}@example.com", password=PASSWORD)
        return bearer(tokens.access_token)

    async def caller(self, name: str, *, is_admin: bool = False) -> Caller:
        """Make an account and sign in; the caller as services see it."""
        await self.user(name, is_admin=is_admin)
        session = await self.session(name)
        caller = await service.identify(self.context, session.secret, "session")
        assert caller is not None
        return caller

    async def with_token(self, secret: str) -> Caller:
        """The caller that an API token stands for."""
        caller = await service.identify(self.context, secret, "token")
        assert caller is not None
        return caller

    async def count(self, table: str) -> int:
        """How many rows the table has."""
        found: dict[str, Any] = {
            "users": "select count(*) from users",
            "sessions": "select count(*) from sessions",
            "refresh_tokens": "select count(*) from refresh_tokens",
            "api_tokens": "select count(*) from api_tokens",
            "links": "select count(*) from links",
            "projects": "select count(*) from projects",
            "members": "select count(*) from members",
        }
        return int(await self.pool.fetch_value(found[table]))


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}
