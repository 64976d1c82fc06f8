"""The head of a project's pages: what stands above them, and who sees which of its tabs."""

from __future__ import annotations

from insight_cloud.app.accounts import policy
from insight_cloud.app.accounts.policy import Right
from insight_cloud.app.analyses import branches
from insight_cloud.app.dashboard import present, reads, views
from insight_cloud.app.dashboard.frames import Member
from insight_cloud.app.dashboard.views import Crumb
from insight_cloud.app.projects.models import Project

__all__ = ["HOME", "above", "head_of", "may"]

HOME = Crumb("Overview", "/")


async def head_of(
    visit: Member, project: Project, *, tab: str, branch: str = "", page: str = ""
) -> views.ProjectHead:
    """The head of a project's page.

    Raises:
        Missing: the branch was never analysed, and is not the default branch either.
    """
    names = await reads.branches(visit.context, project)
    if branch and branch not in {*names, project.default_branch}:
        await branches.known(visit.context, project, branch)
        names = [*names, branch]
    return present.head(
        project,
        tab=tab,
        branch=branch,
        branches=names,
        page=page,
        may_manage=may(visit, project, "manage"),
    )


def may(visit: Member, project: Project, right: Right) -> bool:
    """Whether a page should offer what takes `right`; the service decides in any case."""
    need = policy.NEEDS[right]
    if need.scope not in visit.caller.scopes:
        return False
    role = "maintainer" if visit.caller.sees_all else project.role
    return role is not None and policy.at_least(role, need.role)


def above(project: Project) -> list[Crumb]:
    """The crumbs of a page below a project."""
    return [HOME, Crumb(project.name, f"/projects/{project.slug}")]
