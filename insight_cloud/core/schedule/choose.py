"""Which scheduler this machine has, and why that one."""

from __future__ import annotations

import getpass
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from insight_cloud.core.errors import Missing
from insight_cloud.core.schedule.cron import Cron
from insight_cloud.core.schedule.job import Scope
from insight_cloud.core.schedule.launchd import Launchd
from insight_cloud.core.schedule.scheduler import Run, Scheduler, run
from insight_cloud.core.schedule.systemd import Systemd
from insight_cloud.core.schedule.windows import Windows

__all__ = ["Choice", "choose", "default_scope"]

_BOOTED = Path("/run/systemd/system")  # what sd_booted(3) looks at


@dataclass(frozen=True, slots=True)
class Choice:
    """A scheduler, and the sentence that says why it was taken."""

    scheduler: Scheduler
    reason: str


def default_scope() -> Scope:
    """Return what one would mean: the system for root, the own account for anybody else."""
    return "system" if hasattr(os, "geteuid") and os.geteuid() == 0 else "user"


async def choose(
    scope: Scope,
    *,
    act: Run = run,
    platform: str = sys.platform,
    booted: Path = _BOOTED,
    state: Path | None = None,
    which: Callable[[str], str | None] = shutil.which,
) -> Choice:
    """Take the scheduler that runs here: systemd before cron.

    `state` is where our own runner remembers when jobs ran, where it is needed.

    Raises:
        Missing: there is none; the message says what to do.
    """
    state = state or _state(scope)
    if platform == "win32":
        return Choice(Windows(act, scope=scope), "this is Windows")
    if platform == "darwin":
        return Choice(Launchd(act, scope=scope, state=state), "this is macOS")
    why_not = await _systemd_problem(scope, act, running=booted.is_dir())  # noqa: ASYNC240 - quick
    if not why_not:
        user = getpass.getuser() if scope == "user" else ""
        return Choice(Systemd(act, scope=scope, user=user), "systemd runs this machine")
    if which("crontab"):  # comes with every cron, also where only its folder is used
        return Choice(Cron(act, scope=scope, state=state), f"{why_not}, and cron is installed")
    raise Missing(
        f"{why_not}, and there is no cron: install cron, or let the scheduler of your platform "
        "(such as a Kubernetes CronJob) run the same commands"
    )


async def _systemd_problem(scope: Scope, act: Run, *, running: bool) -> str:
    if not running:
        return "systemd does not run this machine"
    if scope == "user":
        outcome = await act(["systemctl", "--user", "show-environment"], b"")
        if outcome.status != 0:
            return "systemd has no session for this user"
    return ""


def _state(scope: Scope) -> Path:
    if scope == "system":
        return Path("/var/lib/insight/schedule")
    return Path.home() / ".local/state/insight/schedule"
