"""Load tests of any HTTP service: who asks, how often, and what must hold meanwhile.

    scenario = load.read(Path("shop.toml"))
    result = await load.run(scenario, "http://127.0.0.1:8000")
    assert result.valid, result.invalid
    for threshold in result.thresholds:
        print(threshold.expression, threshold.value, threshold.passed)

Locust makes the requests, in a process of its own: gevent changes the standard library for the
whole process, so nothing here but `engine` imports it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from insight_cloud.core import later

if TYPE_CHECKING:
    from insight_cloud.load.figures import Figures, Judged, Request
    from insight_cloud.load.histogram import Histogram
    from insight_cloud.load.launcher import join, run
    from insight_cloud.load.report import html, junit
    from insight_cloud.load.scenario import BUILT_IN, Scenario, built_in, paths, read

__all__ = [
    "BUILT_IN",
    "Figures",
    "Histogram",
    "Judged",
    "Request",
    "Scenario",
    "built_in",
    "html",
    "join",
    "junit",
    "paths",
    "read",
    "run",
]

__getattr__ = later.names(
    __name__,
    {
        "figures": "Figures Judged Request",
        "histogram": "Histogram",
        "launcher": "join run",
        "report": "html junit",
        "scenario": "BUILT_IN Scenario built_in paths read",
    },
)
