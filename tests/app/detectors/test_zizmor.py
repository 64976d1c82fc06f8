"""zizmor: workflows, offline."""

from __future__ import annotations

from pathlib import Path

from insight_cloud.app.detectors import zizmor
from tests.app.detectors.trees import places, run, write

WORKFLOW = """\
on: pull_request_target
permissions: {}
jobs:
  a:
    name: a
    runs-on: ubuntu-latest
    steps:
      - run: echo "${{ github.event.pull_request.title }}"
"""


async def test_an_injection_is_found_at_its_place(tmp_path: Path) -> None:
    write(tmp_path, {".github/workflows/ci.yml": WORKFLOW})
    done = await run(tmp_path, zizmor.detector)
    assert ("template-injection", ".github/workflows/ci.yml", 8) in places(done)
    finding = next(each for each in done.findings if each.rule == "template-injection")
    assert (finding.severity, finding.category) == ("high", "security")
    assert finding.context_hash


async def test_without_workflows_it_is_skipped(tmp_path: Path) -> None:
    write(tmp_path, {"action.yml": "runs:\n  using: composite\n  steps: []\n"})
    done = await run(tmp_path, zizmor.detector)
    assert (done.state, done.detail) == ("skipped", "no .github/workflows")


async def test_a_workflow_that_cannot_be_read_is_a_finding_and_hides_no_other(
    tmp_path: Path,
) -> None:
    write(
        tmp_path,
        {".github/workflows/bad.yml": "not: [valid\n", ".github/workflows/good.yml": WORKFLOW},
    )
    done = await run(tmp_path, zizmor.detector)
    assert done.state == "ok"
    assert ("unreadable-workflow", ".github/workflows/bad.yml", None) in places(done)
    assert ("template-injection", ".github/workflows/good.yml", 8) in places(done)


async def test_a_broken_workflow_alone(tmp_path: Path) -> None:
    write(tmp_path, {".github/workflows/bad.yaml": "jobs: 7\n"})
    done = await run(tmp_path, zizmor.detector)
    assert places(done) == [("unreadable-workflow", ".github/workflows/bad.yaml", None)]


async def test_weird_names(tmp_path: Path) -> None:
    name = ".github/workflows/with space\nand ünï.yml"
    write(tmp_path, {name: WORKFLOW})
    assert {place[1] for place in places(await run(tmp_path, zizmor.detector))} == {name}
