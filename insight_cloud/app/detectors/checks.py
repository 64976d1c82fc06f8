"""Whether each detector works here: it is run on a tiny sample whose fault it must find."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

from insight_cloud.app.detectors import files
from insight_cloud.app.detectors.detector import Detector
from insight_cloud.app.detectors.files import Tree
from insight_cloud.app.detectors.run import DETECTORS, OPTIONAL, TIMEOUT_SECONDS, analyze
from insight_cloud.app.sarif.model import Run
from insight_cloud.core.errors import Missing
from insight_cloud.core.report import Check

__all__ = ["check"]


async def check(
    tree: Tree | None = None,
    *,
    detectors: Sequence[Detector] = DETECTORS,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> list[Check]:
    """One check a detector. With `tree`, those that have nothing to do there are skipped."""
    return [
        await _check(detector, tree, timeout_seconds)
        for detector in sorted(detectors, key=lambda detector: detector.name)
    ]


async def _check(detector: Detector, tree: Tree | None, timeout_seconds: float) -> Check:
    if tree is not None and not detector.select(tree):
        return Check(detector.name, "skip", detector.absent)
    if detector in OPTIONAL:
        try:
            detector.ready()
        except Missing as error:
            return Check(detector.name, "skip", str(error))
    with tempfile.TemporaryDirectory(prefix="insight-sample-") as folder:
        root = Path(folder)
        await asyncio.to_thread(_write, detector, root)
        sample = await files.read(root)
        runs = await analyze(sample, detectors=(detector,), timeout_seconds=timeout_seconds)
    return _judged(detector, runs[0])


def _write(detector: Detector, root: Path) -> None:
    for name, text in detector.sample.files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


def _judged(detector: Detector, run: Run) -> Check:
    if run.state != "ok":
        return Check(detector.name, "fail", f"{run.state}: {run.detail}", run.seconds)
    if detector.sample.rule not in {finding.rule for finding in run.findings}:
        detail = f"did not find {detector.sample.rule} in its sample"
        return Check(detector.name, "fail", detail, run.seconds)
    detail = f"{run.version} found {detector.sample.rule} in its sample"
    return Check(detector.name, "pass", detail, run.seconds)
