"""The rules of projects: who is let in, who may change what, who stays.

Other features come in by `open`: it is the one place that decides whether a caller may see a
project, and what the caller may do there.
"""

from __future__ import annotations

import re
import secrets
from uuid import UUID

from insight_cloud.app.accounts import audit, policy, rules
from insight_cloud.app.accounts import service as accounts
from insight_cloud.app.accounts.models import ApiToken, Caller, Role
from insight_cloud.app.accounts.policy import Right
from insight_cloud.app.api import Context, cursor, position
from insight_cloud.app.privacy import Level
from insight_cloud.app.projects import queries
from insight_cloud.app.projects.models import Member, Project, ProjectPage
from insight_cloud.app.quotas import limits
from insight_cloud.app.quotas import service as quotas
from insight_cloud.core.errors import Conflict, Invalid, Missing, Refused
from insight_cloud.database import Connection

__all__ = [
    "MEMBERS_LIMIT",
    "change",
    "create",
    "delete",
    "ensure",
    "level_of_uploads",
    "list_members",
    "list_projects",
    "list_tokens",
    "of_work",
    "open",
    "put_member",
    "remove_member",
    "revoke_token",
    "visible",
    "with_badge",
]

MEMBERS_LIMIT = 1_000
_SLUG = re.compile(rules.SLUG_PATTERN, re.ASCII)
_HASH_KEY_BYTES = 32
_BRANCH_LIMIT = 200


async def open(  # noqa: A001 - projects.open is what one does with a project
    context: Context,
    caller: Caller,
    slug: str,
    right: Right = "read",
) -> Project:
    """Let the caller into a project, to use `right` there (`accounts.policy.NEEDS`).

    Raises:
        Missing: there is no such project, or the caller may not know that there is.
        Refused: the caller's role or its token's scopes are too low.
    """
    project = None
    if _SLUG.fullmatch(slug):
        project = await queries.find(context.pool, slug=slug, user_id=caller.user_id)
    present = None if project is None else _role(caller, project)
    if project is None or present is None:
        raise Missing(f"there is no project {slug!r} that you may see")
    need = policy.NEEDS[right]
    accounts.require(caller, need.scope)
    if not policy.at_least(present, need.role):
        raise Refused(f"this takes the role {need.role} in {slug!r}, and you are its {present}")
    return project


async def create(context: Context, caller: Caller, *, slug: str, name: str) -> Project:
    """Make a project; the caller becomes its maintainer. Takes the scope `admin`.

    Raises:
        Refused: the caller's token lacks the scope, or is for another project.
        Invalid: the slug or the name cannot be used.
        Conflict: the slug is taken.
    """
    accounts.require(caller, "admin")
    project = await _create(context, caller, slug=slug, name=rules.name(name))
    if project is None:
        raise Conflict(f"the name {slug!r} is taken; choose another one")
    return project


async def ensure(context: Context, caller: Caller, slug: str) -> Project:
    """Open a project for an upload, and make it first when there is none.

    Takes the scope `ingest`, and the role triager where the project is there already.

    Raises:
        Missing: the project is one that the caller may not know, or the token is for another.
        Refused: the caller's role or its token's scopes are too low.
        Invalid: the slug cannot be used.
    """
    accounts.require(caller, "ingest")
    _check_slug(slug)
    if caller.project_id is None and not await _exists(context, slug):
        created = await _create(context, caller, slug=slug, name=slug)
        if created is not None:
            return created
    # It was there, or somebody else was quicker: the rules for everybody apply.
    return await open(context, caller, slug, "upload")


async def level_of_uploads(context: Context, caller: Caller, slug: str) -> Level:
    """The highest privacy level that an upload to a project may be of, also of one to be made.

    Raises:
        Missing, Refused: as in `ensure`.
    """
    accounts.require(caller, "ingest")
    if not _SLUG.fullmatch(slug) or not await _exists(context, slug):
        return context.settings.analyses.privacy
    return (await open(context, caller, slug, "upload")).privacy


async def with_badge(context: Context, caller: Caller | None, slug: str) -> Project:
    """Open a project whose badge the caller may see: everybody, where the project says so.

    Raises:
        Missing: there is no such project, or the caller may not know that there is.
    """
    project = None
    if _SLUG.fullmatch(slug):
        project = await queries.find(context.pool, slug=slug, user_id=None)
    if project is not None and project.public_badge:
        return project
    if caller is None:
        raise Missing(f"there is no project {slug!r} that you may see")
    return await open(context, caller, slug)


async def of_work(context: Context, slug: str) -> Project:
    """Open a project for work that its caller was admitted to before.

    Raises:
        Missing: it is gone.
    """
    project = await queries.find(context.pool, slug=slug, user_id=None)
    if project is None:
        raise Missing(f"there is no project {slug!r} any more")
    return project


async def list_projects(
    context: Context, caller: Caller, *, after: str | None = None, limit: int = 50
) -> ProjectPage:
    """List the projects that the caller sees, by slug, from the cursor `after` on.

    Raises:
        Refused: the caller's token lacks the scope `read`.
        Invalid: the cursor is not one of this list.
    """
    accounts.require(caller, "read")
    (slug,) = position(after, str) or ("",)
    if not rules.plain(slug):
        raise Invalid("the cursor is not one of this list; start again without it")
    found = await _list(context, caller, after=slug, limit=limit + 1)
    items = [project.public for project in found[:limit]]
    return ProjectPage(items=items, next=cursor(items[-1].slug) if found[limit:] else None)


async def visible(context: Context, caller: Caller) -> list[Project]:
    """Return every project that the caller sees, by slug.

    Raises:
        Refused: the caller's token lacks the scope `read`.
    """
    accounts.require(caller, "read")
    return await _list(context, caller, after="", limit=None)


async def change(
    context: Context,
    caller: Caller,
    slug: str,
    *,
    name: str | None = None,
    default_branch: str | None = None,
    public_badge: bool | None = None,
    privacy: Level | None = None,
) -> Project:
    """Rename a project, choose its default branch, show its badge to all, bound what it takes.

    For maintainers. What is None stays as it is.

    Raises:
        Missing: as in `open`.
        Refused: as in `open`.
        Invalid: the name or the branch cannot be used.
    """
    project = await open(context, caller, slug, "manage")
    wanted = {
        "name": None if name is None else rules.name(name),
        "default_branch": None if default_branch is None else _branch(default_branch),
        "public_badge": public_badge,
        "privacy": privacy,
    }
    said = ", ".join(f"{field} {value}" for field, value in wanted.items() if value is not None)
    async with context.pool.transaction() as db:
        await queries.change(db, project_id=project.number, **wanted)  # type: ignore[arg-type]  # by field
        await audit.record(db, context, "project changed", by=caller, project=slug, detail=said)
    return await open(context, caller, slug, "manage")


async def delete(context: Context, caller: Caller, slug: str) -> None:
    """Delete a project with its analyses, issues, members and tokens. For maintainers.

    Raises:
        Missing: as in `open`.
        Refused: as in `open`.
    """
    project = await open(context, caller, slug, "manage")
    async with context.pool.transaction() as db:
        await queries.delete(db, project_id=project.number)
        await audit.record(db, context, "project deleted", by=caller, project=slug)


async def list_members(context: Context, caller: Caller, slug: str) -> list[Member]:
    """List the members, by address, to everybody who sees the project.

    Raises:
        Missing: as in `open`.
        Refused: as in `open`.
    """
    project = await open(context, caller, slug)
    return await queries.list_members(context.pool, project_id=project.number, limit=MEMBERS_LIMIT)


async def put_member(
    context: Context, caller: Caller, slug: str, *, email: str, role: Role
) -> None:
    """Make somebody a member, or give a member another role. For maintainers.

    Raises:
        Missing: as in `open`, or nobody has that address.
        Refused: as in `open`.
        Conflict: the project would have no maintainer, or too many members.
    """
    project = await open(context, caller, slug, "manage")
    async with context.pool.transaction() as db:
        await _lock(db, project)
        user_id = await queries.find_user(db, email=_address(email))
        if user_id is None:
            raise Missing(f"nobody with the address {email} has an account here")
        member = await queries.find_member(db, project_id=project.number, email=email)
        if member is None:
            await _refuse_more_members(context, db, project)
        elif role != "maintainer":
            await _refuse_last_maintainer(db, caller, project, member)
        await queries.put_member(
            db, project_id=project.number, user_id=user_id, role=role, now=context.now()
        )
        await audit.record(
            db, context, "member changed", by=caller, project=slug, target=email, detail=role
        )


async def remove_member(context: Context, caller: Caller, slug: str, *, email: str) -> None:
    """Make somebody no member. For maintainers; everybody may leave.

    Raises:
        Missing: as in `open`, or nobody with that address is a member.
        Refused: as in `open`.
        Conflict: the project would have no maintainer.
    """
    leaves = caller.kind != "token" and caller.email.lower() == email.strip().lower()
    project = await open(context, caller, slug, "leave" if leaves else "manage")
    async with context.pool.transaction() as db:
        await _lock(db, project)
        member = await queries.find_member(db, project_id=project.number, email=_address(email))
        if member is None:
            raise Missing(f"nobody with the address {email} is a member of {slug!r}")
        await _refuse_last_maintainer(db, caller, project, member)
        await queries.remove_member(db, project_id=project.number, user_id=member.user_id)
        await audit.record(db, context, "member removed", by=caller, project=slug, target=email)


async def list_tokens(context: Context, caller: Caller, slug: str) -> list[ApiToken]:
    """List the API tokens that are for this project only, whosever they are. For maintainers.

    Raises:
        Missing: as in `open`.
        Refused: as in `open`.
    """
    project = await open(context, caller, slug, "manage")
    return await accounts.list_tokens_of_project(context, project.number)


async def revoke_token(context: Context, caller: Caller, slug: str, token_id: UUID) -> None:
    """End an API token that is for this project only, whosever it is. For maintainers.

    Raises:
        Missing: as in `open`, or the project has no such token.
        Refused: as in `open`.
    """
    project = await open(context, caller, slug, "manage")
    await accounts.revoke_token_of_project(context, caller, project.number, token_id)


async def _list(
    context: Context, caller: Caller, *, after: str, limit: int | None
) -> list[Project]:
    return await queries.list_after(
        context.pool,
        user_id=caller.user_id,
        project_id=caller.project_id,
        all_projects=caller.sees_all,
        after=after,
        limit=limit,
    )


def _role(caller: Caller, project: Project) -> Role | None:
    """What the caller may be in a project; None when it may not know that it exists.

    The scopes of the caller's token still apply.
    """
    if caller.project_id not in {None, project.number}:
        return None
    return "maintainer" if caller.sees_all else project.role


async def _create(context: Context, caller: Caller, *, slug: str, name: str) -> Project | None:
    """Make a project; None when the slug is taken."""
    _check_slug(slug)
    if caller.project_id is not None:
        raise Refused(f"this token is for the project {caller.project!r} only")
    async with context.pool.transaction() as db:
        await quotas.require_room_for_project(db, context, caller)
        project_id = await queries.add(
            db,
            slug=slug,
            name=name,
            hash_key=secrets.token_bytes(_HASH_KEY_BYTES),
            privacy=context.settings.analyses.privacy,
            now=context.now(),
        )
        if project_id is None:
            return None
        if caller.user_id is not None:
            await queries.put_member(
                db,
                project_id=project_id,
                user_id=caller.user_id,
                role="maintainer",
                now=context.now(),
            )
        await audit.record(db, context, "project made", by=caller, project=slug)
        return await queries.find(db, slug=slug, user_id=caller.user_id)


async def _exists(context: Context, slug: str) -> bool:
    return await queries.find(context.pool, slug=slug, user_id=None) is not None


def _check_slug(slug: str) -> None:
    if _SLUG.fullmatch(slug) is None:
        detail = "1 to 64 small letters, digits and dashes, with no dash at either end"
        raise Invalid(f"slug: {detail}", problems=(("/body/slug", detail),))


async def _lock(db: Connection, project: Project) -> None:
    # Critical section from here to the commit: two maintainers who remove each other at the
    # same time follow each other, and the second one is told that it is the last.
    if not await queries.lock(db, project_id=project.number):
        raise Missing(f"there is no project {project.slug!r} that you may see")


async def _refuse_last_maintainer(
    db: Connection, caller: Caller, project: Project, member: queries.MemberRow
) -> None:
    if member.role != "maintainer" or caller.is_admin:
        return
    others = queries.has_other_maintainer(db, project_id=project.number, user_id=member.user_id)
    if not await others:
        raise Conflict(f"{project.slug!r} would have no maintainer; make somebody else one first")


async def _refuse_more_members(context: Context, db: Connection, project: Project) -> None:
    wanted = limits.of(context.settings.quotas, context.limits.policies["analysis"]).members
    most = min(wanted or MEMBERS_LIMIT, MEMBERS_LIMIT)
    if await queries.count_members(db, project_id=project.number) >= most:
        raise Conflict(f"the members of {project.slug!r} are {most} already, which is the limit")


def _address(email: str) -> str:
    """The address to look for; one that nobody can have is nobody's."""
    try:
        return rules.email(email)
    except Invalid as error:
        raise Missing(f"nobody has the address {email[: rules.EMAIL_LIMIT]!r}") from error


def _branch(text: str) -> str:
    """A branch's name as Git allows it, as far as it concerns us (git-check-ref-format)."""
    wrong = (
        not 1 <= len(text) <= _BRANCH_LIMIT
        or not rules.plain(text)
        or any(letter in " ~^:?*[\\" for letter in text)
        or text.startswith(("-", "/"))
        or text.endswith(("/", ".", ".lock"))
        or any(part in text for part in ("..", "//", "@{"))
    )
    if wrong:
        detail = f"not the name of a branch of at most {_BRANCH_LIMIT} characters"
        raise Invalid(f"default_branch: {detail}", problems=(("/body/default_branch", detail),))
    return text
