"""Run suites one after the other: they would measure each other if they ran at once."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from insight_cloud.core import process
from insight_cloud.core.errors import InsightError, Missing
from insight_cloud.core.report import stopwatch
from insight_cloud.verify.asking import Answer, Asker, Tell
from insight_cloud.verify.subject import Subject
from insight_cloud.verify.verification import Check, Suite, Verification, worst

__all__ = ["SUITES", "run"]

SUITES: Final = ("api", "security", "database", "backup", "e2e", "performance", "load")
"""In the order in which they run: what disturbs the service comes last."""


async def run(
    subject: Subject,
    suites: Sequence[str] = SUITES,
    *,
    tell: Tell | None = None,
    pictures: dict[str, bytes] | None = None,
) -> Verification:
    """Hold `subject` against `suites`. Pictures are put into `pictures` by name.

    Raises:
        Missing: there is no such suite.
    """
    if unknown := next((name for name in suites if name not in SUITES), None):
        raise Missing(f"there is no suite {unknown!r}, but {', '.join(SUITES)}")
    shown = {} if pictures is None else pictures
    started, found = datetime.now(UTC), []
    with stopwatch() as watch:
        for name in dict.fromkeys(suites):
            asker = Asker(name, tell or _silent, shown)
            found.append(await _run(subject, asker))
    return Verification.of(
        found,
        target=subject.url,
        started=started,
        seconds=watch.seconds,
        short=subject.short,
        commit=await _commit(subject),
    )


async def _commit(subject: Subject) -> str:
    """The commit of the source, empty where it is no Git repository."""
    if subject.project is None:
        return ""
    with contextlib.suppress(InsightError):
        git = ("git", "-C", subject.project)
        found = await process.run([*git, "rev-parse", "HEAD"], timeout_seconds=30)
        if found.status == 0:
            return found.stdout.decode().strip()
    return ""


async def _run(subject: Subject, asker: Asker) -> Suite:
    """One suite; what breaks it altogether is an answer, too."""
    module = importlib.import_module(f"insight_cloud.verify.suites.{asker.suite}")
    with stopwatch() as watch:
        try:
            await module.run(subject, asker)
        except Exception as error:  # noqa: BLE001 - the other suites are run all the same
            message = f"{type(error).__name__}: {error}"

            async def broken() -> Answer:
                return Answer("error", message)

            await asker.ask("the suite as a whole", broken)
    status = worst(check.status for check in asker.checks)
    return Suite(asker.suite, status, tuple(asker.checks), round(watch.seconds, 1))


def _silent(suite: str, check: Check) -> None:
    del suite, check
