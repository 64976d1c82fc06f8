"""Pages about what is used of the limits: one's own, and everybody's for administrators."""

from __future__ import annotations

from fastapi import APIRouter, Response

from insight_cloud.app import quotas
from insight_cloud.app.accounts import policy
from insight_cloud.app.dashboard import views
from insight_cloud.app.dashboard.frames import InMember
from insight_cloud.app.dashboard.views import Crumb

__all__ = ["router"]

router = APIRouter()


@router.get("/usage")
async def usage_page(visit: InMember) -> Response:
    """Show what the viewer uses, and the uploads of the projects that the viewer sees."""
    found = await quotas.usage(visit.context, visit.caller)
    view = views.UsagePage(
        own=(
            views.MeterLine("Analyses on the server", "in any 24 hours", found.analyses),
            views.MeterLine("Projects that you maintain", "", found.projects),
        ),
        users=(),
        uploads=tuple(found.uploads),
        preset=found.preset,
        members_limit=found.members_limit,
    )
    return visit.show("usage.html", view, "Usage", crumbs=[Crumb("Your account", "/settings")])


@router.get("/operator/usage")
async def usage_of_all_page(visit: InMember) -> Response:
    """Show what everybody uses, the most first."""
    policy.administer(visit.caller)
    found = await quotas.overview(visit.context)
    view = views.UsagePage(
        own=(),
        users=tuple(found.users),
        uploads=tuple(found.uploads),
        preset=found.preset,
        members_limit=found.members_limit,
        of_all=True,
    )
    return visit.show("usage.html", view, "Usage", crumbs=[Crumb("Operator", "/operator")])
