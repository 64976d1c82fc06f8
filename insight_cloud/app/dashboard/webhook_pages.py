"""Pages about webhooks: the list, and one with what it was told."""

from __future__ import annotations

from fastapi import APIRouter, Response

from insight_cloud.app.dashboard import present, views
from insight_cloud.app.dashboard.forms import Form
from insight_cloud.app.dashboard.frames import InMember, Member, faults, go, parse_id
from insight_cloud.app.dashboard.heads import above
from insight_cloud.app.dashboard.views import Crumb, Field, Option
from insight_cloud.app.projects import service as projects
from insight_cloud.app.projects.models import Project
from insight_cloud.app.webhooks import service as webhooks
from insight_cloud.app.webhooks.models import EVENTS, Delivery, Webhook
from insight_cloud.core.errors import Conflict, Invalid, Missing

__all__ = ["router"]

router = APIRouter()

_LABELS = {
    "analysis.finished": "An analysis is finished",
    "gate.changed": "The verdict about a branch or pull request changes",
    "issues.judged": "Somebody judges issues",
}


@router.get("/projects/{slug}/webhooks")
async def webhooks_page(visit: InMember, slug: str) -> Response:
    """List a project's webhooks."""
    return await _webhooks_page(visit, await _managed(visit, slug))


@router.post("/projects/{slug}/webhooks")
async def add_webhook(visit: InMember, slug: str, form: Form) -> Response:
    """Add a webhook, and show its secret this one time."""
    project = await _managed(visit, slug)
    wanted = set(form.texts("events"))
    try:
        made = await webhooks.add(
            visit.context,
            visit.caller,
            project,
            url=form.text("url"),
            events=[event for event in EVENTS if event in wanted],
        )
    except (Invalid, Conflict) as error:
        values = form.only("url") | {"events": ""}
        return await _webhooks_page(visit, project, form=faults(error, values), status=422)
    return await _webhooks_page(visit, project, secret=made.secret)


async def _webhooks_page(
    visit: Member,
    project: Project,
    *,
    form: dict[str, Field] | None = None,
    status: int = 200,
    secret: str = "",
) -> Response:
    found = await webhooks.listed(visit.context, project)
    base = f"/projects/{project.slug}"
    view = views.WebhooksPage(
        project=present.head(project, tab="settings", may_manage=True),
        webhooks=tuple(_line(one) for one in found),
        events=tuple(
            Option(name, label, name == "gate.changed") for name, label in _LABELS.items()
        ),
        secret=secret,
        form=form or {},
    )
    return visit.show(
        "webhooks.html",
        view,
        f"Webhooks of {project.name}",
        crumbs=[*above(project), Crumb("Settings", f"{base}/settings")],
        status=status,
        path=f"{base}/webhooks",
        secret=bool(secret),
    )


@router.get("/projects/{slug}/webhooks/{webhook}")
async def webhook_page(visit: InMember, slug: str, webhook: str, cursor: str = "") -> Response:
    """Show what a webhook was told."""
    project, id = await _managed(visit, slug), parse_id(webhook)  # noqa: A001 - the API's word
    found = await webhooks.listed(visit.context, project)
    this = next((one for one in found if one.id == id), None)
    if this is None:
        raise Missing(f"project {slug} has no webhook {id}")
    page = await webhooks.deliveries(visit.context, project, id, after=cursor or None)
    path = f"/projects/{slug}/webhooks/{id}"
    view = views.WebhookPage(
        project=present.head(project, tab="settings", may_manage=True),
        webhook=_line(this),
        deliveries=tuple(_delivery(one) for one in page.items),
        next_href=present.href(path, cursor=page.next) if page.next else "",
    )
    crumbs = [*above(project), Crumb("Webhooks", f"/projects/{slug}/webhooks")]
    return visit.show("webhook.html", view, "Webhook", crumbs=crumbs)


@router.post("/projects/{slug}/webhooks/{webhook}/{act}")
async def change_webhook(
    visit: InMember, slug: str, webhook: str, act: str, form: Form
) -> Response:
    """Ping, pause, resume or remove a webhook, or send a message again."""
    project, id = await _managed(visit, slug), parse_id(webhook)  # noqa: A001 - the API's word
    context, caller = visit.context, visit.caller
    back = f"/projects/{slug}/webhooks/{id}"
    if act == "ping":
        await webhooks.ping(context, project, id)
        return go(back, done="queued")
    if act == "redeliver":
        await webhooks.redeliver(context, project, id, parse_id(form.text("delivery")))
        return go(back, done="queued")
    if act in {"pause", "resume"}:
        await webhooks.set_enabled(context, caller, project, id, enabled=act == "resume")
        return go(back, done="saved")
    if act == "remove":
        await webhooks.remove(context, caller, project, id)
        return go(f"/projects/{slug}/webhooks", done="webhook-removed")
    raise Missing("that address does not exist")


async def _managed(visit: Member, slug: str) -> Project:
    return await projects.open(visit.context, visit.caller, slug, "manage")


def _line(one: Webhook) -> views.WebhookLine:
    return views.WebhookLine(
        str(one.id),
        one.url,
        tuple(one.events),
        one.author,
        one.created_at,
        one.disabled_because if one.disabled_at else "",
    )


def _delivery(one: Delivery) -> views.DeliveryLine:
    return views.DeliveryLine(
        str(one.id),
        one.event,
        one.state,
        one.tries,
        one.status,
        one.answer,
        one.payload,
        one.created_at,
        one.next_try_at if one.state == "pending" else None,
        one.seconds,
    )
