"""What a working copy says of itself: its project, branch and commit."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from insight_cloud import settings
from insight_cloud.core import process
from insight_cloud.core.errors import Missing

__all__ = ["Checkout", "describe", "slug"]

_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}


@dataclass(frozen=True, slots=True)
class Checkout:
    """Which code this is. `branch` is None outside of Git and on a detached head."""

    project: str
    branch: str | None
    commit: str


async def describe(
    folder: Path,
    *,
    project: str | None = None,
    branch: str | None = None,
    commit: str | None = None,
) -> Checkout:
    """Complete what is given: the project from settings, remote or folder, the rest from Git."""
    if project is None:
        project = settings.load().project.slug
    if project is None:
        remote = await _git(folder, "remote", "get-url", "origin")
        top = await _git(folder, "rev-parse", "--show-toplevel") or os.path.abspath(folder)  # noqa: ASYNC240, PTH100 - no I/O
        project = slug(remote or top)
    if branch is None:
        branch = await _git(folder, "symbolic-ref", "--quiet", "--short", "HEAD")
    if commit is None:
        commit = await _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    return Checkout(project, branch or None, commit or "")


def slug(name: str) -> str:
    """Make a project's slug from a remote or a folder: its last part, in the allowed letters."""
    last = re.split(r"[/:\\]", name.rstrip("/"))[-1].removesuffix(".git").lower()
    return re.sub(r"[^a-z0-9]+", "-", last).strip("-")[:64].strip("-") or "project"


async def _git(folder: Path, *arguments: str) -> str | None:
    try:
        outcome = await process.run(
            ["git", "-C", folder, *arguments], timeout_seconds=10, environment=_ENVIRONMENT
        )
    except Missing:
        return None
    return outcome.stdout.decode("utf-8", "replace").strip() if outcome.status == 0 else None
