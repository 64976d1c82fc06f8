"""Who may do what: one table for the whole application, read by the code and by its tests.

`NEEDS` says what a right takes in a project, `OPERATIONS` which right each operation of the API
takes. Services enforce the first by name; a test walks the second through every role and scope,
so an operation without a row, or one that lets too many in, fails it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from insight_cloud.app.accounts.models import Caller, Role, Scope
from insight_cloud.core.errors import Refused

__all__ = ["NEEDS", "OPERATIONS", "ROLES", "Need", "Operation", "Right", "administer", "at_least"]

ROLES: tuple[Role, ...] = ("viewer", "triager", "maintainer")
"""Each includes those before it."""

Right = Literal["read", "upload", "triage", "manage", "leave"]
"""What somebody may do in a project."""


@dataclass(frozen=True, slots=True)
class Need:
    """The role in the project and the scope of the token that a right takes."""

    role: Role
    scope: Scope


NEEDS: dict[Right, Need] = {
    "read": Need("viewer", "read"),
    "upload": Need("triager", "ingest"),
    "triage": Need("triager", "triage"),
    "manage": Need("maintainer", "admin"),
    "leave": Need("viewer", "admin"),
}

Operation = Right | Literal["anybody", "signed in", "person", "list", "create", "administer"]
"""How an operation is guarded: by a right in the project of its address, or

- `anybody`: by nothing, or by the secret that the request holds;
- `signed in`: any valid caller;
- `person`: a person, not an API token;
- `list`, `create`: any caller with the scope `read` or `admin`, over what it may see;
- `administer`: an administrator.
"""

OPERATIONS: dict[str, Operation] = {
    "register": "anybody",
    "create_session_tokens": "anybody",
    "refresh": "anybody",
    "logout": "anybody",
    "ask_for_password": "anybody",
    "verify_email": "anybody",
    "get_health": "anybody",
    "me": "signed in",
    "list_tokens": "person",
    "create_token": "person",
    "revoke_token": "person",
    "list_users": "administer",
    "change_user": "administer",
    "list_all_tokens": "administer",
    "revoke_any_token": "administer",
    "list_audit_log": "administer",
    "get_usage": "list",
    "get_usage_of_all": "administer",
    "list_projects": "list",
    "get_overview": "list",
    "create_project": "create",
    "get_project": "read",
    "change_project": "manage",
    "delete_project": "manage",
    "list_members": "read",
    "put_member": "manage",
    "remove_member": "manage",
    "list_project_tokens": "manage",
    "revoke_project_token": "manage",
    "upload_analysis": "upload",
    "upload_counts": "upload",
    "add_source": "upload",
    "add_clone": "upload",
    "list_sources": "read",
    "get_source": "read",
    "watch_source": "read",
    "cancel_source": "upload",
    "list_analyses": "read",
    "get_analysis": "read",
    "list_issues": "read",
    "get_issue": "read",
    "export_issues": "read",
    "get_summary": "read",
    "get_trend": "read",
    "get_top": "read",
    "get_gate": "read",
    "set_gate": "manage",
    "get_gate_result": "read",
    "get_analysis_gate": "read",
    "list_branches": "read",
    "delete_branch": "manage",
    "get_pull": "read",
    "close_pull": "upload",
    "list_webhooks": "manage",
    "add_webhook": "manage",
    "change_webhook": "manage",
    "remove_webhook": "manage",
    "ping_webhook": "manage",
    "list_deliveries": "manage",
    "redeliver": "manage",
    "triage_issues": "triage",
    "list_suppressions": "read",
    "add_suppression": "manage",
    "remove_suppression": "manage",
}
"""Every operation of the API by its id."""


def at_least(present: Role, needed: Role) -> bool:
    """Whether the role `present` includes the role `needed`."""
    return ROLES.index(present) >= ROLES.index(needed)


def administer(caller: Caller) -> None:
    """Let pass who may look after the whole server.

    Raises:
        Refused: the caller is no administrator, or its token lacks the scope `admin`.
    """
    if not caller.is_admin:
        raise Refused("this takes an administrator, signed in or with a token of scope `admin`")
