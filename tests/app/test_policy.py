"""The policy against the running application: every operation, for every role and scope."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from functools import cache
from typing import Any
from uuid import UUID

import httpx
import pytest

from insight_cloud import wiring
from insight_cloud.app import web
from insight_cloud.app.accounts import policy
from insight_cloud.app.accounts import service as accounts
from insight_cloud.app.accounts.models import SCOPES
from insight_cloud.app.accounts.policy import NEEDS, OPERATIONS, ROLES, Operation
from insight_cloud.database import Pool
from insight_cloud.ratelimit import RateLimitSettings
from insight_cloud.settings import Settings
from tests.app.accounts.house import PASSWORD, House, bearer

NOBODY, STRANGER, ADMIN = "nobody", "stranger", "admin"
PEOPLE = (NOBODY, STRANGER, *ROLES, ADMIN)
SAMPLES: dict[str, Any] = {
    "project": "demo",
    "user": "guest@example.com",
    "token_id": UUID(int=1),
    "analysis": UUID(int=1),
    "issue": UUID(int=1),
    "suppression": UUID(int=1),
    "pr": 17,
    "webhook": UUID(int=1),
    "source": UUID(int=1),
    "delivery": UUID(int=1),
    "extension": "csv",
}
"""A value for each parameter of a path; nothing but the project and the members is there."""

BODIES: dict[str, Any] = {
    "register": {"email": "new@example.com", "name": "New", "password": PASSWORD},
    "create_session_tokens": {"email": "viewer@example.com", "password": PASSWORD},
    "refresh": {"refresh_token": "x"},
    "logout": {"refresh_token": "x"},
    "create_token": {"name": "ci", "scopes": ["read"]},
    "create_project": {"slug": "another", "name": "Another"},
    "change_user": {},
    "change_project": {"name": "Renamed"},
    "put_member": {"role": "viewer"},
    "add_webhook": {"url": "https://example.com/hook", "events": ["gate.changed"]},
    "change_webhook": {"enabled": True},
    "set_gate": {"conditions": None},
    "triage_issues": {"ids": [str(UUID(int=1))], "state": "open"},
    "add_suppression": {"rule": "S101", "reason": "tests"},
    "add_clone": {"url": "https://git.example/a"},
    "upload_analysis": {"version": "2.1.0", "runs": []},
}
QUERIES: dict[str, dict[str, str]] = {"delete_branch": {"branch": "topic"}}


@cache
def operations() -> dict[str, tuple[str, str]]:
    """Method and path of every operation."""
    paths = web.openapi()["paths"]
    return {
        operation["operationId"]: (method.upper(), path)
        for path, methods in paths.items()
        for method, operation in methods.items()
    }


class Street(House):
    """The whole application, a project with a member of each role, and somebody outside."""

    async def settle(self) -> None:
        ample = "100000/1h"  # who may do a thing is asked here, and not how often
        limits = RateLimitSettings(api=ample, auth=ample, strict=ample, analysis=ample)
        settings = Settings(ratelimit=limits)
        components = wiring.Components(self.pool, limits=wiring.limits(settings))
        self.app = web.create(settings, components)
        self.app.state.context = self.context
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url="https://insight.test"
        )
        self.headers: dict[str, dict[str, str]] = {NOBODY: {}}
        for name in (STRANGER, *ROLES, ADMIN):
            self.headers[name] = await self.person(name, is_admin=name == ADMIN)
        await self.user("guest")
        await self.rebuild()
        maintainer = await accounts.identify(
            self.context, self.headers["maintainer"]["authorization"].split()[1], "access"
        )
        assert maintainer is not None
        self.tokens = {}
        for scope in sorted(SCOPES):
            made = await accounts.add_token(
                self.context, maintainer, name=scope, scopes=[scope], project=None
            )
            self.tokens[scope] = bearer(made.token)

    async def rebuild(self) -> None:
        """Put the project and its members back."""
        await self.pool.execute(
            "insert into projects (slug, name, hash_key) values ('demo', 'Demo', 'k') "
            "on conflict do nothing"
        )
        await self.pool.execute(
            "insert into members (project_id, user_id, role) "
            "select p.id, u.id, m.role from projects p, users u, "
            "(values ('viewer', 'viewer'), ('triager', 'triager'), ('maintainer', 'maintainer'), "
            "('guest', 'viewer')) as m (name, role) "
            "where p.slug = 'demo' and split_part(u.email, '@', 1) = m.name "
            "on conflict (project_id, user_id) do update set role = excluded.role"
        )

    async def call(self, operation: str, headers: dict[str, str]) -> httpx.Response:
        await self.rebuild()
        method, path = operations()[operation]
        path = re.sub(r"{(\w+)}", lambda name: str(SAMPLES[name[1]]), path)
        body = {"json": BODIES[operation]} if operation in BODIES else {}
        return await self.http.request(
            method, path, headers=headers, params=QUERIES.get(operation), **body
        )


@pytest.fixture(scope="module")
async def street(postgres_url: str) -> AsyncIterator[Street]:
    from tests import postgres
    from tests.conftest import MIGRATIONS

    template = await postgres.template(postgres_url, MIGRATIONS)
    async with (
        postgres.database(postgres_url, template=template) as url,
        Pool(url, min_size=1, max_size=4) as pool,
        Street(pool) as street,
    ):
        await street.settle()
        yield street


def verdict(answer: httpx.Response) -> str:
    """What the policy said: who is unknown, not allowed, or must not know of the project."""
    if answer.status_code == 401:
        return "unknown"
    if answer.status_code == 403:
        return "refused"
    if answer.status_code == 404 and "that you may see" in answer.text:
        return "hidden"
    assert answer.status_code != 429, answer.text
    assert answer.status_code < 500, answer.text
    return "allowed"


def wanted_of_person(operation: Operation, who: str) -> str:
    if operation == "anybody":
        return "allowed"
    if who == NOBODY:
        return "unknown"
    if operation in {"signed in", "person", "list", "create"} or who == ADMIN:
        return "allowed"
    if operation == "administer":
        return "refused"
    if who == STRANGER:
        return "hidden"
    need = NEEDS[operation]  # type: ignore[index]  # the other words were dealt with
    return "allowed" if policy.at_least(who, need.role) else "refused"  # type: ignore[arg-type]  # a member


def wanted_of_token(operation: Operation, scope: str) -> str:
    """A maintainer's token with one scope."""
    if operation in {"anybody", "signed in"}:
        return "allowed"
    if operation in {"person", "administer"}:
        return "refused"
    if operation in {"list", "create"}:
        return "allowed" if scope == {"list": "read", "create": "admin"}[operation] else "refused"
    return "allowed" if scope == NEEDS[operation].scope else "refused"  # type: ignore[index]  # see above


def test_every_operation_has_a_row_and_every_row_an_operation() -> None:
    assert set(OPERATIONS) == set(operations())


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_an_operation_lets_in_whom_the_policy_names(street: Street, operation: str) -> None:
    needed = OPERATIONS[operation]
    # `refresh` and signing in answer 401 to a wrong secret, which is no question of rights.
    if operation == "refresh":
        assert (await street.call(operation, {})).status_code == 401
        return
    said = {who: verdict(await street.call(operation, street.headers[who])) for who in PEOPLE}
    assert said == {who: wanted_of_person(needed, who) for who in PEOPLE}
    said = {one: verdict(await street.call(operation, street.tokens[one])) for one in street.tokens}
    assert said == {scope: wanted_of_token(needed, scope) for scope in street.tokens}


async def test_a_person_who_leaves_needs_no_role(street: Street) -> None:
    await street.rebuild()
    path = "/api/v1/projects/demo/members/viewer@example.com"
    answer = await street.http.delete(path, headers=street.headers["viewer"])
    assert (OPERATIONS["remove_member"], answer.status_code) == ("manage", 204)
