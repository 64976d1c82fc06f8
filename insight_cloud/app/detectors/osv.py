"""Known vulnerabilities of the packages that a project pins, from a database on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from pathlib import Path

from insight_cloud.app.detectors import locks
from insight_cloud.app.detectors.advisories import Advisory, Database, Hit
from insight_cloud.app.detectors.detector import Children, Detector, Result, Sample
from insight_cloud.app.detectors.files import File, LeftOut, Tree
from insight_cloud.app.detectors.grades import graded
from insight_cloud.app.detectors.locks import Pinned
from insight_cloud.app.sarif.model import Finding, Location, Rule
from insight_cloud.core import places

__all__ = ["detector"]

_LOCK_BYTES = 32 * 1024 * 1024
"""Lock files may be larger than code."""
_TEXT = 2_000


async def _run(_root: Path, files: tuple[File, ...], _children: Children) -> Result:
    return await asyncio.to_thread(_matched, files)


def _matched(files: tuple[File, ...]) -> Result:
    findings: list[Finding] = []
    rules: dict[str, Rule] = {}
    unread: list[str] = []
    with contextlib.closing(Database(places.advisories())) as database:
        for file in files:
            try:
                text = Path(file.path).read_text("utf-8", "replace")
                pinned = locks.read(file.name, text)
            except (OSError, ValueError) as error:
                unread.append(str(error))
                continue
            for one in pinned:
                for hit in database.about(one.ecosystem, one.name, one.version):
                    findings.append(_finding(file, one, hit))
                    rules[hit.advisory.id] = _rule(hit.advisory)
    return Result(
        findings=tuple(findings), rules=tuple(rules.values()), detail="; ".join(unread)[:500]
    )


def _finding(file: File, one: Pinned, hit: Hit) -> Finding:
    advisory = hit.advisory
    severity, category = graded("osv", advisory.id, severity=advisory.level, category="packages")
    what = advisory.summary or "a known vulnerability"
    mend = f"fixed in {hit.fixed}" if hit.fixed else "no fixed version is known"
    return Finding(
        rule=advisory.id,
        message=f"{one.name} {one.version}: {what} ({mend})"[:_TEXT],
        severity=severity,
        category=category,
        location=Location(path=file.name, line=one.line),
        # However the lock file is sorted, and whatever the version until it is mended.
        fingerprints={"package/v1": f"{advisory.id}:{one.ecosystem}:{one.name}"},
    )


def _rule(advisory: Advisory) -> Rule:
    return Rule(
        code=advisory.id,
        name=advisory.id,
        summary=(advisory.summary or advisory.id)[:_TEXT],
        help=f"Also known as {', '.join(advisory.aliases)}." if advisory.aliases else "",
        help_uri=f"https://osv.dev/vulnerability/{advisory.id}",
    )


def _select(tree: Tree) -> tuple[File, ...]:
    # Others' code is left out, as everywhere; a lock file counts as generated, and is ours.
    ours = [file for file in tree.files if locks.is_lock(file.name) and "/" not in _foreign(file)]
    large = [file for one in tree.left_out if (file := _large(tree.root, one))]
    return tuple(sorted((*ours, *large), key=lambda file: file.name))


def _foreign(file: File) -> str:
    """A slash where the file lies in a folder of other people's code."""
    folders = set(file.name.split("/")[:-1])
    return "/" if folders & {"vendor", "node_modules", "third_party", "site-packages"} else ""


def _large(root: Path, one: LeftOut) -> File | None:
    if not one.reason.startswith("larger than") or not locks.is_lock(one.name):
        return None
    path = root / one.name
    with contextlib.suppress(OSError):
        size = path.stat().st_size
        if size <= _LOCK_BYTES:
            digest = hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
            return File(one.name, str(path), size, digest, own=False)
    return None


def _version() -> str:
    """When the database was made: it decides what is found.

    Raises:
        Missing: there is none.
    """
    with contextlib.closing(Database(places.advisories())) as database:
        return database.state.made_at.strftime("%Y-%m-%d")


detector = Detector(
    name="osv",
    finds="known vulnerabilities of pinned packages (optional: needs a database)",
    absent="no lock file",
    version=_version,
    configuration="1",
    select=_select,
    run=_run,
    sample=Sample((("requirements.txt", "jinja2==2.4.1\n"),), "GHSA-462w-v97r-4m45"),
    per_file=False,
)
