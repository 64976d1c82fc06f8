"""`insight diff`, `baseline`, and what `analyze` compares with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from insight_cloud.app.sarif import write as sarif
from insight_cloud.app.sarif.model import Run
from tests.app.analyses.conftest import finding, run
from tests.app.detectors.trees import repository, write

TOKEN = "ghp_" + "a1B2c3D4e5F6" * 3
INSIGHT = Path(sys.executable).parent / "insight"


def insight(*arguments: str | Path, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [INSIGHT, *arguments],
        cwd=home,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def log(folder: Path, name: str, *runs: Run) -> Path:
    file = folder / name
    file.write_bytes(sarif.log(runs))
    return file


@pytest.fixture
def code(tmp_path: Path) -> Path:
    return repository(tmp_path / "code", {"old.py": "import os\n", "sub/x.py": "import re\n"})


# -- diff ------------------------------------------------------------------------------------


def test_two_logs_are_compared_by_identity(tmp_path: Path) -> None:
    hashes = {"context_hash": "c", "line_hash": "l"}
    old = log(tmp_path, "old.sarif", run(finding("A", line=1, **hashes), finding("B")))
    new = log(tmp_path, "new.sarif", run(finding("A", line=70, **hashes), finding("C")))
    done = insight("diff", old, new, home=tmp_path)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "+ a.py:1: medium C here [ruff C]",
        "- a.py:1: medium B here [ruff B]",
        "1 new, 1 fixed",
    ]
    done = insight("diff", old, new, "--json", "--fail-on", "medium", home=tmp_path)
    assert done.returncode == 1
    assert [one["rule"] for one in json.loads(done.stdout)[0]["new"]] == ["C"]
    assert insight("diff", old, new, "--fail-on", "new:high", home=tmp_path).returncode == 0


def test_a_tool_that_failed_has_fixed_nothing(tmp_path: Path) -> None:
    old = log(tmp_path, "old.sarif", run(finding("A")))
    new = log(tmp_path, "new.sarif", run(state="failed", detail="crash"))
    done = insight("diff", old, new, home=tmp_path)
    assert done.stdout.splitlines() == [
        "? ruff did not finish, so nothing of it is called fixed",
        "0 new, 0 fixed",
    ]


def test_a_file_that_is_no_log_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.sarif").write_text("{")
    done = insight("diff", "x.sarif", "x.sarif", home=tmp_path)
    assert done.returncode == 4
    assert "JSON" in done.stderr


# -- baseline, since, changed-only -----------------------------------------------------------


def test_a_baseline_lets_only_what_is_new_fail(code: Path, tmp_path: Path) -> None:
    write(code, {"bad.py": f"T = '{TOKEN}'\n"})
    done = insight("baseline", code, "--output", "base.sarif", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "findings written to base.sarif" in done.stderr
    options = ("--baseline", "base.sarif", "--fail-on", "new:critical")
    write(code, {"bad.py": f"import json\n\n\nT = '{TOKEN}'\n"})
    assert insight("analyze", code, *options, home=tmp_path).returncode == 0
    write(code, {"worse.py": f"U = '{TOKEN.replace('a1', 'b2')}'\n"})
    done = insight("analyze", code, *options, home=tmp_path)
    assert done.returncode == 1
    assert "new since base.sarif" in done.stderr


def test_since_a_commit_only_what_came_after_it_is_new(code: Path, tmp_path: Path) -> None:
    options = ("--since", "HEAD", "--fail-on", "new:info")
    done = insight("analyze", code, *options, home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "0 new since HEAD\n")
    write(code, {"old.py": "\n\nimport os\n", "new.py": "import sys\n"})
    done = insight("analyze", code, *options, home=tmp_path)
    assert (done.returncode, done.stderr) == (1, "1 new since HEAD\n")
    below = insight("analyze", code / "sub", *options, home=tmp_path)
    assert (below.returncode, below.stderr) == (0, "0 new since HEAD\n")
    status = subprocess.run(
        ["git", "-C", code, "status", "--porcelain"], capture_output=True, text=True, check=True
    )
    assert status.stdout.split() == ["M", "old.py", "??", "new.py"]


def test_only_changed_files_are_reported_and_nothing_else_is_called_fixed(
    code: Path, tmp_path: Path
) -> None:
    write(code, {"sub/x.py": "import re\nimport json\n"})
    done = insight("analyze", code, "--changed-only", "--format", "sarif", home=tmp_path)
    (ruff,) = [r for r in json.loads(done.stdout)["runs"] if r["tool"]["driver"]["name"] == "ruff"]
    found = {
        one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        for one in ruff["results"]
    }
    assert found == {"sub/x.py"}
    assert ruff["invocations"][0]["properties"] == {"insightScope": ["sub/x.py"]}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--fail-on", "new:high"), "needs something to compare with"),
        (("--fail-on", "new:worst"), "none of critical"),
        (("--since", "HEAD", "--baseline", "b.sarif"), "not both"),
        (("--since", "no-such-commit", "--fail-on", "new:high"), "no-such-commit"),
        (("--since", "--output=x", "--changed-only"), "--output=x"),
    ],
)
def test_a_comparison_with_nothing_is_refused(
    code: Path, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    (tmp_path / "b.sarif").write_bytes(sarif.log([]))
    done = insight("analyze", code, *options, home=tmp_path)
    assert done.returncode in {2, 3}
    assert said in done.stderr
