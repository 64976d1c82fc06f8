"""What accounts are made of, as frozen data: rows of queries and bodies of answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID

__all__ = [
    "SCOPES",
    "Account",
    "ApiToken",
    "Browser",
    "Caller",
    "Cleaned",
    "Link",
    "Me",
    "NewApiToken",
    "Purpose",
    "Role",
    "Scope",
    "Session",
    "Tokens",
    "User",
]

Scope = Literal["ingest", "read", "triage", "admin"]
"""What a token may be used for. No scope includes another one."""

SCOPES: frozenset[Scope] = frozenset(("ingest", "read", "triage", "admin"))

Role = Literal["viewer", "triager", "maintainer"]
"""What a member may do in a project; each role includes those before it."""

Purpose = Literal["first-admin", "password", "verify"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking, and within which bounds.

    Attributes:
        user_id: the user's row; None for a token that the operator made on the server.
        public_id: the user's id as the outside knows it.
        name: the user's name, or the name of the operator's token.
        email: empty for the operator's token.
        is_admin: may act as administrator, here and now (a token without the scope `admin`
            never is, whoever made it).
        sees_all: every project is visible: an administrator, or the operator's token.
        scopes: a person who is signed in has them all.
        project_id: the only project that the token is for; None is not bound to one.
        project: its slug.
        kind: how the caller proved it: browser session, access token, API token.
        token_number: the API token's row; never leaves the server.
    """

    user_id: int | None
    public_id: UUID | None
    name: str
    email: str
    is_admin: bool
    sees_all: bool
    scopes: frozenset[Scope]
    project_id: int | None
    project: str | None
    kind: Literal["session", "access", "token"]
    token_number: int | None = None

    @property
    def limit_key(self) -> str:
        """Whose permits a request takes: an API token's own, else its user's."""
        if self.token_number is not None:
            return f"token:{self.token_number}"
        return f"user:{self.public_id}"


@dataclass(frozen=True, slots=True)
class User:
    """A person, as the outside may see one."""

    id: UUID
    email: str
    name: str
    is_admin: bool
    created_at: datetime
    disabled_at: datetime | None
    verified_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """A person's row with what only this feature may know."""

    id: int
    public_id: UUID
    email: str
    name: str
    password_hash: str = field(repr=False)
    is_admin: bool
    created_at: datetime
    disabled_at: datetime | None
    verified_at: datetime | None = None

    @property
    def user(self) -> User:
        """The same person, as the outside may see it."""
        return User(
            id=self.public_id,
            email=self.email,
            name=self.name,
            is_admin=self.is_admin,
            created_at=self.created_at,
            disabled_at=self.disabled_at,
            verified_at=self.verified_at,
        )


@dataclass(frozen=True, slots=True)
class Me:
    """What a caller is told about itself."""

    kind: Literal["session", "access", "token"]
    id: UUID | None
    email: str
    name: str
    is_admin: bool
    scopes: Sequence[str]
    project: str | None


@dataclass(frozen=True, slots=True)
class Session:
    """A browser session that has just begun; `secret` is known only now."""

    user: User
    expires_at: datetime
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Browser:
    """A browser that is signed in; `is_this` says that it is the one that asks."""

    id: str
    user_agent: str
    created_at: datetime
    expires_at: datetime
    is_this: bool


@dataclass(frozen=True, slots=True)
class Tokens:
    """A new access token and the refresh token that replaces it once (RFC 6749, 5.1)."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_in: int
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the name of a scheme


@dataclass(frozen=True, slots=True)
class ApiToken:
    """An API token without its secret; `user` is the owner's e-mail, None the operator."""

    id: UUID
    prefix: str
    name: str
    scopes: Sequence[Scope]
    project: str | None
    user: str | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewApiToken:
    """An API token that was just made; `token` itself is never shown again."""

    token: str = field(repr=False)
    details: ApiToken


@dataclass(frozen=True, slots=True)
class Link:
    """A link that works once; `email` and `name` are those of the user whose password it sets."""

    purpose: Purpose
    expires_at: datetime
    email: str | None
    name: str | None


@dataclass(frozen=True, slots=True)
class Cleaned:
    """How many rows had expired and were deleted."""

    sessions: int
    refresh_tokens: int
    links: int
