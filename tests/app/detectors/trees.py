"""Small trees for the detectors' tests, and what real tools say about them."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from insight_cloud.app import detectors
from insight_cloud.app.detectors.detector import Detector
from insight_cloud.app.sarif.model import Finding, Run

GIT = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=m"]

FUNCTION = "def f(rows, first, second, offset):\n" + "".join(
    f"    total_{n} = first[{n}] * second[{n}] + offset\n" for n in range(20)
)


def write(root: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def git(root: Path, *arguments: str) -> None:
    subprocess.run([*GIT, *arguments], cwd=root, check=True, capture_output=True)


def repository(root: Path, files: Mapping[str, str | bytes]) -> Path:
    write(root, files)
    git(root, "init")
    git(root, "add", "--all")
    git(root, "commit", "--message", "first")
    return root


async def run(root: Path, detector: Detector, *, timeout_seconds: float = 60.0) -> Run:
    (run,) = await detectors.analyze(root, detectors=(detector,), timeout_seconds=timeout_seconds)
    return run


def places(run: Run) -> list[tuple[str, str, int | None]]:
    return [(each.rule, path(each), line(each)) for each in run.findings]


def path(finding: Finding) -> str:
    assert finding.location is not None
    return finding.location.path


def line(finding: Finding) -> int | None:
    assert finding.location is not None
    return finding.location.line
