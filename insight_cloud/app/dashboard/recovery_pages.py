"""Pages for who forgot a password, and for who confirms an address."""

from __future__ import annotations

from fastapi import APIRouter, Response

from insight_cloud.app.accounts import recovery
from insight_cloud.app.dashboard import views
from insight_cloud.app.dashboard.forms import Form
from insight_cloud.app.dashboard.frames import InMember, InVisit, Visit, go

__all__ = ["router"]

router = APIRouter()


@router.get("/forgot")
async def forgot_page(visit: InVisit) -> Response:
    """Show the form that asks for a link, or say what to do where no mail is sent."""
    return _forgot(visit)


@router.post("/forgot")
async def forgot(visit: InVisit, form: Form) -> Response:
    """Send a link, if somebody has the address; the answer is the same in any case."""
    await recovery.ask_for_password(visit.context, form.text("email"))
    return _forgot(visit, asked=True)


def _forgot(visit: Visit, *, asked: bool = False) -> Response:
    view = views.Forgot(sends_mail=recovery.sends_mail(visit.context), asked=asked)
    return visit.show(
        "forgot.html",
        view,
        "Forgot your password?",
        path="/forgot",
        description="Ask for a letter with a link that sets a new password for Insight.",
    )


@router.get("/verify/{token}")
async def verify_page(visit: InVisit, token: str) -> Response:
    """Show the button that confirms: programs that look into mail open links, too."""
    return visit.show("verify.html", views.Verify(token=token), "Confirm", secret=True)


@router.post("/verify/{token}")
async def verify(visit: InVisit, token: str) -> Response:
    """Use the link."""
    await recovery.verify(visit.context, token)
    return go("/settings" if visit.caller else "/sign-in", done="verified")


@router.post("/settings/verify")
async def ask_to_verify(visit: InMember) -> Response:
    """Send the viewer a link."""
    await recovery.ask_to_verify(visit.context, visit.caller)
    return go("/settings", done="letter-sent")
