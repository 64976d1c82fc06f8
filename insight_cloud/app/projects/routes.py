"""Projects and their members over HTTP."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import Field, StrictBool

from insight_cloud.app.accounts import InCaller, Role
from insight_cloud.app.accounts.models import ApiToken
from insight_cloud.app.accounts.rules import EMAIL_LIMIT, NAME_LIMIT, SLUG_PATTERN
from insight_cloud.app.api import Body, InContext, InCursor, problems, reply
from insight_cloud.app.privacy import Level
from insight_cloud.app.projects import service
from insight_cloud.app.projects.models import Member, ProjectPage, PublicProject

__all__ = ["Slug", "router"]

router = APIRouter(prefix="/api/v1", tags=["projects"])

Slug = Annotated[str, Path(min_length=1, max_length=64, description="The project's slug.")]
Address = Annotated[str, Path(min_length=3, max_length=EMAIL_LIMIT, description="The address.")]


class NewProject(Body):
    """A project to make: `slug` is its name in addresses and commands, for good."""

    slug: str = Field(min_length=1, max_length=64, pattern=SLUG_PATTERN)
    name: str = Field(min_length=1, max_length=NAME_LIMIT)


class ProjectChange(Body):
    """What to change; what is left out or null stays as it is."""

    name: str | None = Field(default=None, min_length=1, max_length=NAME_LIMIT)
    default_branch: str | None = Field(default=None, min_length=1, max_length=200)
    public_badge: StrictBool | None = Field(
        default=None, description="Whether everybody may see the verdict about its branches."
    )
    privacy: Level | None = Field(
        default=None, description="The highest privacy level that its uploads may be of."
    )


class Membership(Body):
    """What a member may do; each role includes those before it."""

    role: Role


@router.get(
    "/projects",
    operation_id="list_projects",
    response_model=ProjectPage,
    responses=problems(401, 403, 422),
)
async def list_projects(
    request: Request,
    context: InContext,
    caller: InCaller,
    cursor: InCursor = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """List the projects that the caller sees, by slug."""
    page = await service.list_projects(context, caller, after=cursor, limit=limit)
    return reply(request, page)


@router.post(
    "/projects",
    status_code=201,
    operation_id="create_project",
    response_model=PublicProject,
    responses=problems(401, 403, 409, 422),
)
async def create_project(
    request: Request, context: InContext, caller: InCaller, body: NewProject
) -> Response:
    """Make a project, and the caller its maintainer."""
    project = await service.create(context, caller, slug=body.slug, name=body.name)
    return reply(request, project.public, status=201)


@router.get(
    "/projects/{project}",
    operation_id="get_project",
    response_model=PublicProject,
    responses=problems(401, 403, 404, 422),
)
async def get_project(
    request: Request, context: InContext, caller: InCaller, project: Slug
) -> Response:
    """Show one project."""
    found = await service.open(context, caller, project)
    return reply(request, found.public)


@router.patch(
    "/projects/{project}",
    operation_id="change_project",
    response_model=PublicProject,
    responses=problems(401, 403, 404, 422),
)
async def change_project(
    request: Request,
    context: InContext,
    caller: InCaller,
    project: Slug,
    body: ProjectChange,
) -> Response:
    """Rename a project, choose its default branch, bound what it takes; for maintainers."""
    changed = await service.change(
        context,
        caller,
        project,
        name=body.name,
        default_branch=body.default_branch,
        public_badge=body.public_badge,
        privacy=body.privacy,
    )
    return reply(request, changed.public)


@router.delete(
    "/projects/{project}",
    status_code=204,
    response_class=Response,
    operation_id="delete_project",
    responses=problems(401, 403, 404, 422),
)
async def delete_project(context: InContext, caller: InCaller, project: Slug) -> Response:
    """Delete a project with everything in it; for maintainers. Nothing brings it back."""
    await service.delete(context, caller, project)
    return Response(status_code=204)


@router.get(
    "/projects/{project}/members",
    operation_id="list_members",
    response_model=list[Member],
    responses=problems(401, 403, 404, 422),
)
async def list_members(
    request: Request, context: InContext, caller: InCaller, project: Slug
) -> Response:
    """List the members by address (at most 1,000)."""
    return reply(request, await service.list_members(context, caller, project))


@router.put(
    "/projects/{project}/members/{user}",
    status_code=204,
    response_class=Response,
    operation_id="put_member",
    responses=problems(401, 403, 404, 409, 422),
)
async def put_member(
    context: InContext, caller: InCaller, project: Slug, user: Address, body: Membership
) -> Response:
    """Make the user with the address `user` a member, or change its role; for maintainers."""
    await service.put_member(context, caller, project, email=user, role=body.role)
    return Response(status_code=204)


@router.delete(
    "/projects/{project}/members/{user}",
    status_code=204,
    response_class=Response,
    operation_id="remove_member",
    responses=problems(401, 403, 404, 409, 422),
)
async def remove_member(
    context: InContext, caller: InCaller, project: Slug, user: Address
) -> Response:
    """Make the user with the address `user` no member; for maintainers, and to leave oneself."""
    await service.remove_member(context, caller, project, email=user)
    return Response(status_code=204)


@router.get(
    "/projects/{project}/tokens",
    operation_id="list_project_tokens",
    response_model=list[ApiToken],
    responses=problems(401, 403, 404, 422),
)
async def list_project_tokens(
    request: Request, context: InContext, caller: InCaller, project: Slug
) -> Response:
    """List the API tokens that are for this project only, whosever; for maintainers."""
    return reply(request, await service.list_tokens(context, caller, project))


@router.delete(
    "/projects/{project}/tokens/{token_id}",
    status_code=204,
    response_class=Response,
    operation_id="revoke_project_token",
    responses=problems(401, 403, 404, 422),
)
async def revoke_project_token(
    context: InContext, caller: InCaller, project: Slug, token_id: UUID
) -> Response:
    """Revoke an API token that is for this project only, whosever; for maintainers."""
    await service.revoke_token(context, caller, project, token_id)
    return Response(status_code=204)
