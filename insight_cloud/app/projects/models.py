"""What projects are made of, as frozen data: rows of queries and bodies of answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from insight_cloud.app.accounts.models import Role
from insight_cloud.app.privacy import Level

__all__ = ["Member", "Project", "ProjectPage", "PublicProject"]


@dataclass(frozen=True, slots=True)
class PublicProject:
    """A project, as the outside may see it; `role` is the caller's, None for no member."""

    id: UUID
    slug: str
    name: str
    default_branch: str
    created_at: datetime
    role: Role | None
    public_badge: bool = False
    privacy: Level = "source"


@dataclass(frozen=True, slots=True)
class Project:
    """A project that the caller was let into.

    Attributes:
        number: the row's id; never leaves the server.
        id: what the outside knows it by, besides the slug.
        hash_key: 32 random bytes that key the identities of this project's issues.
        role: the caller's role as a member; None for an administrator or operator who is none.
        public_badge: whether everybody may see the verdict about its branches.
        privacy: the highest level that its uploads may be of.
        version: grows with every change of what is known about the project.
    """

    number: int
    id: UUID
    slug: str
    name: str
    default_branch: str
    hash_key: bytes = field(repr=False)
    created_at: datetime
    role: Role | None
    version: int = 0
    public_badge: bool = False
    privacy: Level = "source"

    @property
    def public(self) -> PublicProject:
        """The same project, as the outside may see it."""
        return PublicProject(
            id=self.id,
            slug=self.slug,
            name=self.name,
            default_branch=self.default_branch,
            created_at=self.created_at,
            role=self.role,
            public_badge=self.public_badge,
            privacy=self.privacy,
        )


@dataclass(frozen=True, slots=True)
class ProjectPage:
    """Some projects by slug; `next` is the cursor that continues, None at the end."""

    items: Sequence[PublicProject]
    next: str | None


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody who belongs to a project."""

    id: UUID
    email: str
    name: str
    role: Role
    created_at: datetime
