"""What a working copy says of itself: its project, branch and commit."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from insight_cloud import settings
from insight_cloud.core import process
from insight_cloud.core.errors import Missing, Unavailable

__all__ = ["Checkout", "at", "changed", "describe", "merge_base", "slug"]

_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}


@dataclass(frozen=True, slots=True)
class Checkout:
    """Which code this is. `branch` is None outside of Git and on a detached head."""

    project: str
    branch: str | None
    commit: str
    remote: str = ""


async def describe(
    folder: Path,
    *,
    project: str | None = None,
    branch: str | None = None,
    commit: str | None = None,
) -> Checkout:
    """Complete what is given: the project from settings, remote or folder, the rest from Git."""
    remote = await _git(folder, "remote", "get-url", "origin")
    if project is None:
        project = settings.load().project.slug
    if project is None:
        top = await _git(folder, "rev-parse", "--show-toplevel") or os.path.abspath(folder)  # noqa: ASYNC240, PTH100 - no I/O
        project = slug(remote or top)
    if branch is None:
        branch = await _git(folder, "symbolic-ref", "--quiet", "--short", "HEAD")
    if commit is None:
        commit = await _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    return Checkout(project, branch or None, commit or "", remote or "")


async def merge_base(folder: Path, base: str | None) -> str:
    """The commit at which HEAD left the branch `base` (None: the remote's default branch).

    Empty when Git does not know.

    The branch of the remote comes first: in CI there is often no other, and on a developer's
    machine it is the newer one.
    """
    for name in (f"origin/{base}", base) if base else ("origin/HEAD",):
        found = await _git(folder, "merge-base", "HEAD", name)
        if found:
            return found
    return ""


async def changed(folder: Path, since: str) -> frozenset[str]:
    """The files below `folder` that differ from the commit `since`, untracked ones included.

    Raises:
        Missing: this is no working copy of Git, or it has no such commit.
    """
    await _known_commit(folder, since)
    tracked = await _git(folder, "diff", "--name-only", "--relative", "-z", since, "--", ".")
    new = await _git(folder, "ls-files", "--others", "--exclude-standard", "-z", "--", ".")
    return frozenset(name for text in (tracked, new) for name in (text or "").split("\0") if name)


@contextlib.asynccontextmanager
async def at(folder: Path, commit: str) -> AsyncIterator[Path]:
    """The files below `folder` as they were at `commit`, in a folder that goes afterwards.

    Raises:
        Missing: this is no working copy of Git, or it has no such commit.
    """
    await _known_commit(folder, commit)
    prefix = await _git(folder, "rev-parse", "--show-prefix") or ""
    with tempfile.TemporaryDirectory(prefix="insight-") as made:
        index = {"GIT_INDEX_FILE": str(Path(made, "index"))}
        await _must(folder, "read-tree", commit, environment=index)
        # An index of its own: neither the real one nor the working copy is touched.
        await _must(folder, "checkout-index", "-a", f"--prefix={made}/tree/", environment=index)
        wanted = Path(made, "tree", prefix)
        await asyncio.to_thread(wanted.mkdir, parents=True, exist_ok=True)
        yield wanted


async def _known_commit(folder: Path, commit: str) -> None:
    if commit.startswith("-") or not await _git(
        folder, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"
    ):
        raise Missing(f"{folder} is no working copy of Git with a commit {commit!r}")


async def _must(folder: Path, *arguments: str, environment: dict[str, str]) -> None:
    outcome = await process.run(
        ["git", "-C", folder, *arguments],
        timeout_seconds=60,
        environment=_ENVIRONMENT | environment,
    )
    if outcome.status != 0:
        raise Unavailable(f"git {arguments[0]} failed: {outcome.stderr_tail}")


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
