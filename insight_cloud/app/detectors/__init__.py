"""The analyzers that run on a working copy, each with an honest state.

from insight_cloud.app import detectors

cache = detectors.Kept(Path.home() / ".cache" / "insight-cloud")
for run in await detectors.analyze(Path("."), cache=cache):
    print(run.tool, run.state, run.detail, len(run.findings))
"""

from __future__ import annotations

from insight_cloud.app.detectors.detector import Detector, Result
from insight_cloud.app.detectors.files import File, LeftOut, Tree, git, read
from insight_cloud.app.detectors.kept import Kept
from insight_cloud.app.detectors.run import ALL, DETECTORS, OPTIONAL, analyze, fitting

__all__ = [
    "ALL",
    "DETECTORS",
    "OPTIONAL",
    "Detector",
    "File",
    "Kept",
    "LeftOut",
    "Result",
    "Tree",
    "analyze",
    "fitting",
    "git",
    "read",
]
