"""Runs the detectors on a working copy: who looks at what, in which order, with what result."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import msgspec

from insight_cloud.app.detectors import (
    complexipy,
    cruiser,
    deptry,
    files,
    hadolint,
    imports,
    jscpd,
    lizard,
    osv,
    oxlint,
    ruff,
    secrets,
    shellcheck,
    ty,
    zizmor,
)
from insight_cloud.app.detectors.detector import Children, Detector, Result
from insight_cloud.app.detectors.files import File, Tree
from insight_cloud.app.detectors.kept import Entry, Kept, key
from insight_cloud.app.sarif import fingerprint
from insight_cloud.app.sarif.model import Finding, Rule, Run
from insight_cloud.core.errors import InsightError, Missing
from insight_cloud.core.report import stopwatch

__all__ = ["ALL", "DETECTORS", "OPTIONAL", "TIMEOUT_SECONDS", "Progress", "analyze", "fitting"]

DETECTORS: tuple[Detector, ...] = (
    lizard.detector,
    secrets.detector,
    ruff.detector,
    jscpd.detector,
    imports.detector,
    zizmor.detector,
)
"""Those that are always there, the longest first: so two cores end at about the same time."""

OPTIONAL: tuple[Detector, ...] = (
    oxlint.detector,
    cruiser.detector,
    ty.detector,
    complexipy.detector,
    shellcheck.detector,
    hadolint.detector,
    deptry.detector,
    osv.detector,
)
"""Those that are installed on request (`tools`)."""

ALL: tuple[Detector, ...] = (*DETECTORS, *OPTIONAL)

TIMEOUT_SECONDS = 60.0

Progress = Callable[[str, Literal["started", "ended"]], None]
"""Told the name of a detector when it starts and when it ended."""


def fitting(tree: Tree) -> tuple[Detector, ...]:
    """All that may have something to say: of the optional ones, those with files to look at.

    One that is not installed is among them, so that it is told what was not looked at.
    """
    return tuple(one for one in ALL if one not in OPTIONAL or one.select(tree))


async def analyze(
    root: Path | Tree,
    *,
    detectors: Sequence[Detector] = DETECTORS,
    timeout_seconds: float = TIMEOUT_SECONDS,
    cache: Kept | None = None,
    workers: int | None = None,
    progress: Progress = lambda _name, _event: None,
) -> list[Run]:
    """Run `detectors` on the working copy at `root` (or on a tree that was read already).

    At most `workers` children at a time (as many as there are cores, two at least), each for at
    most `timeout_seconds`. The same files give the same runs, in the order of their names.
    A detector that fails or is too slow says so in its own run; the others go on. When the
    caller is cancelled, every child is killed.

    Raises:
        Missing, Refused: the tree cannot be read (see `files.read`).
    """
    tree = root if isinstance(root, Tree) else await files.read(root)
    with tempfile.TemporaryDirectory(prefix="insight-") as scratch:
        children = Children(
            limit=workers or max(2, os.cpu_count() or 2),
            timeout_seconds=timeout_seconds,
            scratch=Path(scratch),
        )
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_run(detector, tree, children, cache, progress))
                for detector in detectors
            ]
    return sorted((task.result() for task in tasks), key=lambda run: run.tool)


async def _run(
    detector: Detector, tree: Tree, children: Children, cache: Kept | None, progress: Progress
) -> Run:
    progress(detector.name, "started")
    with stopwatch() as watch:
        try:
            result = await _result(detector, tree, children, cache)
            run = _finished(detector, result)
            if detector.explain and run.rules:
                rules = await detector.explain(run.rules, children)
                run = msgspec.structs.replace(run, rules=rules)
        except Missing as error:
            run = Run(tool=detector.name, state="skipped", detail=str(error))
        except Exception as error:  # noqa: BLE001 - one detector's fault must not hide the others
            why = str(error) if isinstance(error, InsightError) else repr(error)
            run = Run(tool=detector.name, state="failed", detail=why)
    progress(detector.name, "ended")
    return msgspec.structs.replace(run, seconds=watch.seconds)


async def _result(detector: Detector, tree: Tree, children: Children, cache: Kept | None) -> Result:
    if detector in OPTIONAL and not detector.select(tree):
        return Result("skipped", detail=detector.absent)  # and nobody needs to install it
    identity = detector.identity()
    chosen = detector.select(tree)
    if not chosen:
        return Result("skipped", detail=detector.absent)
    if cache is None:
        return await _found(detector, tree.root, chosen, children)
    old = await asyncio.to_thread(cache.load, tree.root, detector.name)
    job = _Job(detector, tree.root, chosen, children, identity, old)
    result, new = await (job.by_file() if detector.per_file else job.as_a_whole())
    if new:
        await asyncio.to_thread(cache.save, tree.root, detector.name, old, new)
    return result


async def _found(
    detector: Detector, root: Path, files: tuple[File, ...], children: Children
) -> Result:
    result = await detector.run(root, files, children)
    if result.hashed or not result.findings:
        return result
    run = Run(tool=detector.name, findings=result.findings)
    hashed = await asyncio.to_thread(fingerprint.add, run, root=root)
    return replace(result, findings=hashed.findings)


@dataclass(frozen=True, slots=True)
class _Job:
    """One detector's work on what is not among the `old` entries.

    Both ways return the result and the entries to keep: none when it did not end well.
    """

    detector: Detector
    root: Path
    files: tuple[File, ...]
    children: Children
    identity: bytes
    old: dict[bytes, Entry]

    async def as_a_whole(self) -> tuple[Result, dict[bytes, Entry]]:
        parts = (part for file in self.files for part in (file.name, file.digest))
        name = key(self.identity, *parts)
        if name in self.old:
            entry = self.old[name]
            return Result("ok", entry.findings, entry.rules, entry.detail), {name: entry}
        result = await _found(self.detector, self.root, self.files, self.children)
        if result.state != "ok":
            return result, {}
        return result, {name: Entry(result.findings, result.rules, result.detail)}

    async def by_file(self) -> tuple[Result, dict[bytes, Entry]]:
        names = {file: key(self.identity, file.name, file.digest) for file in self.files}
        missed = tuple(file for file, name in names.items() if name not in self.old)
        kept = {name: self.old[name] for name in names.values() if name in self.old}
        result = Result()
        if missed:
            result = await _found(self.detector, self.root, missed, self.children)
        if result.state != "ok":
            return result, {}
        fresh = _by_file(result)
        if not result.detail:  # else some file was not analysed, and it is not known which
            kept |= {names[file]: fresh.get(file.name, Entry()) for file in missed}
            fresh = {}
        return _joined([*kept.values(), *fresh.values()], result.detail), kept


def _joined(entries: list[Entry], detail: str) -> Result:
    return Result(
        findings=tuple(finding for entry in entries for finding in entry.findings),
        rules=tuple(rule for entry in entries for rule in entry.rules),
        detail=detail,
    )


def _by_file(result: Result) -> dict[str, Entry]:
    findings: dict[str, list[Finding]] = defaultdict(list)
    rules = {rule.code: rule for rule in result.rules}
    for finding in result.findings:
        if finding.location is not None:
            findings[finding.location.path].append(finding)
    return {
        path: Entry(
            tuple(found), tuple(rules[code] for code in sorted({each.rule for each in found}))
        )
        for path, found in findings.items()
    }


def _finished(detector: Detector, result: Result) -> Run:
    used = {finding.rule for finding in result.findings}
    rules: dict[str, Rule] = {rule.code: rule for rule in result.rules if rule.code in used}
    return Run(
        tool=detector.name,
        version=_version(detector),
        state=result.state,
        detail=result.detail,
        rules=tuple(rules[code] for code in sorted(rules)),
        findings=tuple(sorted(result.findings, key=_order)),
    )


def _version(detector: Detector) -> str:
    """The tool's version; empty where it is not there and had nothing to do anyway."""
    try:
        return detector.version()
    except Missing:
        return ""


def _order(finding: Finding) -> tuple[str, int, int, str, str, str]:
    place = finding.location
    if place is None:
        return "", 0, 0, finding.rule, finding.message, ""
    return (
        place.path,
        place.line or 0,
        place.column or 0,
        finding.rule,
        finding.message,
        str(finding.related),
    )
