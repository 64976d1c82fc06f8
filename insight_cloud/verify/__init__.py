"""Seven suites that any deployment can be held against, each check with one of four answers.

    subject = Subject("https://staging.example.org", database_url="postgresql://...")
    found = await run(subject, ("api", "security", "database"))
    print(found.status, found.success_rate)
    Path("verify.html").write_text(html(found))

What cannot be asked, for want of a program, a database or a description, is "not run" and says why.
It never counts as passed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from insight_cloud.core import later

if TYPE_CHECKING:
    from insight_cloud.verify.report import html, json_schema, junit
    from insight_cloud.verify.runner import SUITES, run
    from insight_cloud.verify.subject import Subject
    from insight_cloud.verify.verification import Check, Suite, Verification

__all__ = [
    "SUITES",
    "Check",
    "Subject",
    "Suite",
    "Verification",
    "html",
    "json_schema",
    "junit",
    "run",
]

__getattr__ = later.names(
    __name__,
    {
        "report": "html json_schema junit",
        "runner": "SUITES run",
        "subject": "Subject",
        "verification": "Check Suite Verification",
    },
)
