"""The doctor: every detector proves itself, a broken one is told apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from insight_cloud.app import detectors
from insight_cloud.app.detectors import DETECTORS, ruff
from insight_cloud.app.detectors.checks import check
from insight_cloud.app.detectors.detector import Sample
from tests.app.detectors.trees import write


async def test_every_detector_finds_the_fault_of_its_sample() -> None:
    found = {each.name: (each.status, each.detail) for each in await check()}
    assert {name: status for name, (status, _) in found.items()} == {
        detector.name: "pass" for detector in DETECTORS
    }, found


async def test_a_detector_that_finds_nothing_fails() -> None:
    blind = replace(ruff.detector, sample=Sample((("a.py", "x = 1\n"),), "F401"))
    (found,) = await check(detectors=(blind,))
    assert (found.status, found.detail) == ("fail", "did not find F401 in its sample")


async def test_a_tool_that_is_missing_or_too_slow_fails() -> None:
    (missing,) = await check(detectors=(replace(ruff.detector, executable="no-such-tool"),))
    assert missing.status == "fail"
    (slow,) = await check(detectors=(ruff.detector,), timeout_seconds=0.0001)
    assert (slow.status, slow.detail) == ("fail", "timed_out: stopped after 0.0001 s")


async def test_what_has_nothing_to_do_in_a_tree_is_skipped(tmp_path: Path) -> None:
    tree = await detectors.read(write(tmp_path, {"a.js": ""}))
    found = {each.name: each.status for each in await check(tree)}
    assert found["ruff"] == "skip"
    assert found["secrets"] == "pass"
