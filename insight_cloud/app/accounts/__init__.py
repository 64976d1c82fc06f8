"""Who may do what: users, sessions, tokens and the links that create the first of them.

from insight_cloud.app.accounts import InCaller, require

@router.get("/things")
async def list_things(request: Request, context: InContext, caller: InCaller) -> Response:
    require(caller, "read")
    return reply(request, await service.list_things(context, caller))
"""

from insight_cloud.app.accounts.identify import (
    COOKIE,
    InCaller,
    caller_of,
    forget,
    refuse_cross_site,
    remember,
    secret_of,
)
from insight_cloud.app.accounts.models import Caller, Role, Scope, Session, User
from insight_cloud.app.accounts.service import require

__all__ = [
    "COOKIE",
    "Caller",
    "InCaller",
    "Role",
    "Scope",
    "Session",
    "User",
    "caller_of",
    "forget",
    "refuse_cross_site",
    "remember",
    "require",
    "secret_of",
]
