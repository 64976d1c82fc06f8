"""Pages for administrators: people, everybody's tokens, the audit log."""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter, Response

from insight_cloud.app.accounts import audit, policy
from insight_cloud.app.accounts import service as accounts
from insight_cloud.app.dashboard import present, views
from insight_cloud.app.dashboard.forms import Form
from insight_cloud.app.dashboard.frames import InMember, Member, faults, go, parse_id
from insight_cloud.app.dashboard.views import Crumb, Field, Option
from insight_cloud.core.errors import Conflict, Invalid, Missing, Refused

__all__ = ["router"]

router = APIRouter()

_ABOVE = Crumb("Operator", "/operator")
_ACTS: dict[str, dict[str, bool]] = {
    "disable": {"disabled": True},
    "enable": {"disabled": False},
    "make-admin": {"is_admin": True},
    "unmake-admin": {"is_admin": False},
}


# -- people ----------------------------------------------------------------------------------


@router.get("/operator/users")
async def users_page(visit: InMember) -> Response:
    """List everybody, and offer to add somebody."""
    policy.administer(visit.caller)
    return await _users_page(visit)


@router.post("/operator/users")
async def add_user(visit: InMember, form: Form) -> Response:
    """Add a user, and show the link by which that person sets a password."""
    policy.administer(visit.caller)
    values = form.only("name", "email")
    try:
        link = await accounts.invite(
            visit.context, visit.caller, email=values["email"], name=values["name"]
        )
    except (Invalid, Conflict) as error:
        return await _users_page(visit, form=faults(error, values), status=422)
    return await _users_page(visit, link=_welcome(visit, link), link_for=values["email"])


@router.post("/operator/users/{act}")
async def change_user(visit: InMember, act: str, form: Form) -> Response:
    """Disable or enable a user, make an administrator or unmake one."""
    policy.administer(visit.caller)
    if act == "link":
        return await _password_link(visit, form.text("email"))
    if act not in _ACTS:
        raise Missing("that address does not exist")
    try:
        await accounts.change_user(visit.context, visit.caller, form.text("email"), **_ACTS[act])
    except (Conflict, Missing) as error:
        return await _users_page(visit, form=faults(error, {}), status=422)
    return go("/operator/users", done="user-changed")


async def _password_link(visit: Member, email: str) -> Response:
    """Show a link that sets a new password of the user, to hand over."""
    try:
        link = await accounts.password_link(visit.context, email, by=visit.caller)
    except (Missing, Refused) as error:
        return await _users_page(visit, form=faults(error, {}), status=422)
    return await _users_page(visit, link=_welcome(visit, link), link_for=email)


def _welcome(visit: Member, link: str) -> str:
    return f"{visit.context.settings.server.url}/welcome/{link}"


async def _users_page(
    visit: Member,
    *,
    form: dict[str, Field] | None = None,
    status: int = 200,
    link: str = "",
    link_for: str = "",
) -> Response:
    people = await accounts.list_users(visit.context)
    view = views.UsersPage(
        users=tuple(
            views.UserLine(
                one.name,
                one.email,
                one.created_at,
                is_admin=one.is_admin,
                is_disabled=one.disabled_at is not None,
                is_viewer=one.id == visit.caller.public_id,
            )
            for one in people
        ),
        link=link,
        link_for=link_for,
        form=form or {},
    )
    return visit.show(
        "users.html",
        view,
        "Users",
        crumbs=[_ABOVE],
        status=status,
        path="/operator/users",
        secret=bool(link),
    )


# -- tokens ----------------------------------------------------------------------------------


@router.get("/operator/tokens")
async def tokens_page(visit: InMember) -> Response:
    """List everybody's API tokens."""
    policy.administer(visit.caller)
    tokens = await accounts.list_all_tokens(visit.context)
    lines = tuple(
        replace(present.token_line(one, visit.caller), owner=one.user or "operator")
        for one in tokens
    )
    return visit.show("tokens.html", views.TokensPage(tokens=lines), "Tokens", crumbs=[_ABOVE])


@router.post("/operator/tokens/{token}/revoke")
async def revoke_token(visit: InMember, token: str) -> Response:
    """Revoke a token, whosever."""
    policy.administer(visit.caller)
    await accounts.revoke_any_token(visit.context, visit.caller, parse_id(token))
    return go("/operator/tokens", done="token-revoked")


# -- the audit log ---------------------------------------------------------------------------


@router.get("/operator/audit")
async def audit_page(
    visit: InMember, event: str = "", actor: str = "", project: str = "", cursor: str = ""
) -> Response:
    """Show who did what that matters for security, by the filters in the address."""
    policy.administer(visit.caller)
    chosen = next((one for one in audit.EVENTS if one == event), "")
    actor, project = (text.replace("\0", "").strip()[:254] for text in (actor, project))
    page = await audit.listed(
        visit.context,
        event=chosen or None,
        actor=actor or None,
        project=project or None,
        after=cursor or None,
    )
    filters = {"event": chosen, "actor": actor, "project": project}
    path = "/operator/audit"
    view = views.AuditPage(
        entries=page.items,
        events=tuple(Option(one, one.capitalize(), one == chosen) for one in audit.EVENTS),
        actor=actor,
        project=project,
        next_href=present.href(path, **filters, cursor=page.next) if page.next else "",
        first_href=present.href(path, **filters) if cursor else "",
    )
    return visit.show("audit.html", view, "Audit log", crumbs=[_ABOVE])
