"""Every statement of projects: what goes in, what comes out. The SQL stands in `queries.sql`.

`db` is the pool, or a transaction where several statements belong together.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from insight_cloud.app.accounts.models import Role
from insight_cloud.app.privacy import Level
from insight_cloud.app.projects.models import Member, Project
from insight_cloud.database import Connection, sql
from insight_cloud.database.statements import Statements

_SQL = sql.load(Path(__file__).with_name("queries.sql"))


@dataclass(frozen=True, slots=True)
class MemberRow:
    """A member's row."""

    user_id: int
    role: Role


async def find(db: Statements, *, slug: str, user_id: int | None) -> Project | None:
    """The project called `slug` with the user's role in it."""
    return await db.fetch_maybe(_SQL.find_project, Project, slug=slug, user_id=user_id)


async def add(
    db: Connection, *, slug: str, name: str, hash_key: bytes, privacy: Level, now: datetime
) -> int | None:
    """Add a project; None when the slug is taken."""
    return await db.fetch_maybe(
        _SQL.add_project,
        int,
        slug=slug,
        name=name,
        hash_key=hash_key,
        privacy=privacy,
        now=now,
    )


async def list_after(
    db: Statements,
    *,
    user_id: int | None,
    project_id: int | None,
    all_projects: bool,
    after: str,
    limit: int | None,
) -> list[Project]:
    """At most `limit` projects (None: all) whose slug comes after `after`, by slug."""
    return await db.fetch_all(
        _SQL.list_all_projects if all_projects else _SQL.list_projects_of_member,
        Project,
        user_id=user_id,
        project_id=project_id,
        after=after,
        limit=limit,
    )


async def change(
    db: Statements,
    *,
    project_id: int,
    name: str | None,
    default_branch: str | None,
    public_badge: bool | None,
    privacy: Level | None,
) -> None:
    """Set what is not None."""
    await db.execute(
        _SQL.change_project,
        project_id=project_id,
        name=name,
        default_branch=default_branch,
        public_badge=public_badge,
        privacy=privacy,
    )


async def delete(db: Statements, *, project_id: int) -> None:
    """Delete a project with everything in it."""
    await db.execute(_SQL.delete_project, project_id=project_id)


async def lock(db: Connection, *, project_id: int) -> bool:
    """Let one transaction at a time change the members; False when the project is gone."""
    return await db.fetch_value(_SQL.lock_project, project_id=project_id) is not None


async def list_members(db: Statements, *, project_id: int, limit: int) -> list[Member]:
    """The members, by address."""
    return await db.fetch_all(_SQL.list_members, Member, project_id=project_id, limit=limit)


async def find_user(db: Statements, *, email: str) -> int | None:
    """The id of the enabled user with that address."""
    return await db.fetch_maybe(_SQL.find_user, int, email=email)


async def find_member(db: Statements, *, project_id: int, email: str) -> MemberRow | None:
    """The member with that address, disabled or not."""
    return await db.fetch_maybe(_SQL.find_member, MemberRow, project_id=project_id, email=email)


async def count_members(db: Statements, *, project_id: int) -> int:
    """How many members the project has."""
    return int(await db.fetch_value(_SQL.count_members, project_id=project_id))


async def has_other_maintainer(db: Statements, *, project_id: int, user_id: int) -> bool:
    """Whether an enabled user besides `user_id` is maintainer."""
    return bool(
        await db.fetch_value(_SQL.has_other_maintainer, project_id=project_id, user_id=user_id)
    )


async def put_member(
    db: Connection, *, project_id: int, user_id: int, role: Role, now: datetime
) -> None:
    """Make the user a member with that role, or give the member that role."""
    await db.execute(_SQL.put_member, project_id=project_id, user_id=user_id, role=role, now=now)


async def remove_member(db: Connection, *, project_id: int, user_id: int) -> None:
    """Make the user no member."""
    await db.execute(_SQL.remove_member, project_id=project_id, user_id=user_id)
