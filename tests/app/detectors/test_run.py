"""All detectors together: states, order, hostile trees, nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from insight_cloud.app import detectors
from insight_cloud.app.detectors import DETECTORS, lizard, ruff, secrets
from insight_cloud.app.detectors.detector import Children, Result, ended_badly, program
from insight_cloud.app.detectors.files import File
from insight_cloud.app.sarif import read as sarif_read
from insight_cloud.app.sarif import write as sarif_write
from insight_cloud.core.errors import Corrupt, Missing
from tests.app.detectors.test_zizmor import WORKFLOW
from tests.app.detectors.trees import FUNCTION, git, places, repository, run, write

CODE: dict[str, str | bytes] = {
    ".github/workflows/ci.yml": WORKFLOW,
    "p/__init__.py": "",
    "p/a.py": "import os\nfrom p import b\n" + FUNCTION,
    "p/b.py": "from p import a\n" + FUNCTION,
    "p/c.py": f"TOKEN = '{'ghp_'}{'a1B2c3D4e5F6' * 3}'\n"
    "def f(a, b, c, d, e, g, h, i):\n    return a\n",
    "p/bad.py": "def (:\n",
}


async def test_every_detector_finds_its_fault_and_says_so(tmp_path: Path) -> None:
    runs = await detectors.analyze(repository(tmp_path, CODE))
    assert [run.tool for run in runs] == sorted(detector.name for detector in DETECTORS)
    assert {run.state for run in runs} == {"ok"}
    rules = {finding.rule for run in runs for finding in run.findings}
    assert rules >= {
        "F401",
        "invalid-syntax",
        "import-cycle",
        "duplicate-code",
        "parameters",
        "github-token",
        "template-injection",
    }
    located = [finding for run in runs for finding in run.findings]
    assert all(finding.context_hash for finding in located)


async def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    one = repository(tmp_path / "one", CODE)
    other = write(tmp_path / "other", dict(reversed(CODE.items())))
    cache = detectors.Kept(tmp_path / "cache")
    logs = {
        sarif_write.log(await detectors.analyze(one)),
        sarif_write.log(await detectors.analyze(other, workers=5)),
        sarif_write.log(await detectors.analyze(one, cache=cache)),
        sarif_write.log(await detectors.analyze(one, cache=cache)),
    }
    assert len(logs) == 1
    log = sarif_read.log(logs.pop())
    assert log.warnings == ()
    assert [run.tool for run in log.runs] == sorted(detector.name for detector in DETECTORS)


async def test_a_detector_that_is_too_slow_has_timed_out(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "x = 1\n"})
    done = await run(tmp_path, lizard.detector, timeout_seconds=0.005)
    assert (done.state, done.detail, done.findings) == ("timed_out", "stopped after 0.005 s", ())


async def test_a_detector_that_crashes_has_failed_with_its_last_words(tmp_path: Path) -> None:
    async def crash(_root: Path, _files: tuple[File, ...], children: Children) -> Result:
        code = "import os, sys; print('out of luck', file=sys.stderr, flush=True); os.abort()"
        outcome = await children.run([sys.executable, "-c", code])
        bad = ended_badly(outcome, timeout_seconds=children.timeout_seconds)
        assert bad is not None
        return bad

    write(tmp_path, {"a.py": "import os\n"})
    runs = await detectors.analyze(
        tmp_path, detectors=(replace(ruff.detector, name="crashing", run=crash), ruff.detector)
    )
    assert [(run.tool, run.state) for run in runs] == [("crashing", "failed"), ("ruff", "ok")]
    assert runs[0].detail == "exit status -6: out of luck"
    assert len(runs[1].findings) == 1


@pytest.mark.parametrize("error", [Corrupt("odd output"), KeyError("odd output")])
async def test_output_that_cannot_be_read_is_a_failure_of_that_detector_alone(
    tmp_path: Path, error: Exception
) -> None:
    async def fail(_root: Path, _files: tuple[File, ...], _children: Children) -> Result:
        raise error

    write(tmp_path, {"a.py": "import os\n"})
    done = await run(tmp_path, replace(ruff.detector, run=fail))
    assert done.state == "failed"
    assert "odd output" in done.detail


async def test_a_tool_that_is_not_installed_is_skipped_with_the_reason(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "import os\n"})
    done = await run(tmp_path, replace(ruff.detector, executable="no-such-tool"))
    assert done.state == "skipped"
    assert "no-such-tool is not installed" in done.detail


async def test_nothing_to_do_is_skipped_with_the_reason(tmp_path: Path) -> None:
    write(tmp_path, {"notes.txt": "hello\n"})
    states = {run.tool: (run.state, run.detail) for run in await detectors.analyze(tmp_path)}
    assert states == {
        "imports": ("skipped", "no Python files"),
        "jscpd": ("skipped", "no source code"),
        "lizard": ("skipped", "no files in a language that it reads"),
        "ruff": ("skipped", "no Python files"),
        "secrets": ("ok", ""),
        "zizmor": ("skipped", "no .github/workflows"),
    }


def hostile(marker: Path) -> dict[str, str | bytes]:
    """Configuration that would hide every finding, and code that would leave a mark if run."""
    trap = f"open({str(marker)!r}, 'a').write(__file__)\n"
    shell = f"#!/bin/sh\necho ran >> '{marker}'\n"
    silent = "[lint]\nselect = []\nignore = ['ALL']\n"
    return {
        "ruff.toml": "exclude = ['*']\n" + silent,
        ".ruff.toml": "exclude = ['*']\n" + silent,
        "p/ruff.toml": silent,
        "pyproject.toml": "[tool.ruff]\nexclude = ['*']\n[tool.ruff.lint]\nignore = ['ALL']\n",
        ".jscpd.json": '{"ignore": ["**/*"], "minTokens": 99999, "path": []}',
        "p/.jscpd.json": '{"ignore": ["**/*"], "minTokens": 99999}',
        "package.json": '{"jscpd": {"ignore": ["**/*"], "minTokens": 99999}}',
        ".ignore": "*\n",
        ".jscpdignore": "*\n",
        "zizmor.yml": "rules:\n  template-injection:\n    disable: true\n",
        ".github/zizmor.yml": "rules:\n  template-injection:\n    disable: true\n",
        "whitelizard.txt": "*:*\n",
        "insight.toml": "[cache]\n",
        "sitecustomize.py": trap,
        "usercustomize.py": trap,
        "conftest.py": trap,
        "setup.py": trap,
        "json.py": trap,
        "msgspec.py": trap,
        "lizard.py": trap,
        "grimp.py": trap,
        "insight_cloud/__init__.py": trap,
        "insight_cloud/app/__init__.py": trap,
        "node_modules/.bin/jscpd": shell,
        "bin/git": shell,
        "ruff": shell,
        "monitor.sh": shell,
    }


async def test_the_trees_own_configuration_changes_nothing_and_nothing_of_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "ran"
    clean = repository(tmp_path / "clean", CODE)
    traps = hostile(marker)
    root = write(tmp_path / "hostile", {**CODE, **traps})
    for name in traps:
        (root / name).chmod(0o755)
    repository(root, {})
    git(root, "config", "core.fsmonitor", str(root / "monitor.sh"))
    git(root, "config", "core.hooksPath", str(root))
    monkeypatch.setenv("PATH", f"{root}/bin:{root}/node_modules/.bin:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(root))
    monkeypatch.setenv("RUFF_CONFIG", str(root / "ruff.toml"))
    monkeypatch.setenv("ZIZMOR_CONFIG", str(root / "zizmor.yml"))
    monkeypatch.chdir(root)
    expected = {
        (run.tool, place) for run in await detectors.analyze(clean) for place in places(run)
    }
    marker.unlink(missing_ok=True)  # what git itself ran while the trap was laid
    found = {
        (run.tool, place)
        for run in await detectors.analyze(root)
        for place in places(run)
        if place[1] in CODE
    }
    assert found == expected
    assert not marker.exists()


async def test_nothing_is_written_into_the_tree(tmp_path: Path) -> None:
    write(tmp_path, CODE)
    before = sorted(tmp_path.rglob("*"))  # noqa: ASYNC240 - a test may wait for its disk
    await detectors.analyze(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before  # noqa: ASYNC240 - a test may wait for its disk


async def test_cancelling_kills_the_children_and_removes_the_scratch(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    scratches: list[Path] = []

    async def wait(_root: Path, _files: tuple[File, ...], children: Children) -> Result:
        scratches.append(children.scratch)
        await children.run(["/bin/sh", "-c", f"echo $$ > '{pid}'; sleep 300 & wait"])
        return Result()

    write(tmp_path, {"a.py": ""})
    waiting = replace(ruff.detector, run=wait)
    task = asyncio.create_task(detectors.analyze(tmp_path, detectors=(waiting,)))
    async with asyncio.timeout(30):
        while not (pid.exists() and pid.read_text().strip()):  # noqa: ASYNC110 - a file, not an event, tells
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert alive(int(pid.read_text())) == []
    assert not scratches[0].exists()


def alive(group: int) -> list[str]:
    """The processes of a group, without the dead that nobody has buried yet."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state != "Z":
                found.append(str(path))
    return found


async def test_no_more_children_than_workers(tmp_path: Path) -> None:
    running = most = 0

    async def work(_root: Path, _files: tuple[File, ...], children: Children) -> Result:
        async def one() -> None:
            nonlocal running, most
            async with children._turn:
                running += 1
                most = max(most, running)
                await asyncio.sleep(0)
                running -= 1

        await asyncio.gather(*(one() for _ in range(5)))
        return Result()

    write(tmp_path, {"a.py": ""})
    many = tuple(replace(ruff.detector, name=f"d{n}", run=work) for n in range(4))
    await detectors.analyze(tmp_path, detectors=many, workers=2)
    assert most == 2


async def test_progress_names_who_started_and_who_ended(tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    write(tmp_path, {"a.py": ""})
    await detectors.analyze(
        tmp_path,
        detectors=(ruff.detector, secrets.detector),
        progress=lambda name, event: told.append((name, event)),
    )
    assert sorted(told) == [(n, e) for n in ("ruff", "secrets") for e in ("ended", "started")]


def test_programs_are_not_looked_for_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"some-tool": "#!/bin/sh\n"})
    (tmp_path / "some-tool").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Missing, match="some-tool"):
        program("some-tool")
