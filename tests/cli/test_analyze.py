"""`insight analyze`: what it prints, what it writes, how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.app.detectors.trees import repository, write

TOKEN = "ghp_" + "a1B2c3D4e5F6" * 3
INSIGHT = Path(sys.executable).parent / "insight"


def analyze(
    *arguments: str | Path, home: Path, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [INSIGHT, "analyze", *arguments],
        cwd=cwd or home,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


@pytest.fixture
def code(tmp_path: Path) -> Path:
    return repository(
        tmp_path / "code",
        {
            "low.py": "try:\n    x = 1\nexcept ValueError as e:\n    pass\n",
            "bad.py": f"T = '{TOKEN}'\nimport os\n",
        },
    )


def test_people_see_the_worst_file_first_and_who_looked(code: Path, tmp_path: Path) -> None:
    done = analyze(code, home=tmp_path)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "bad.py"
    assert re.match(
        r" +1:6  critical A GitHub personal access token .*\[secrets github-token\]", lines[1]
    )
    assert re.search(r"^zizmor +skipped .* no \.github/workflows$", done.stdout, re.MULTILINE)
    assert re.search(r"^2 files: 1 critical, 2 low$", done.stdout, re.MULTILINE)
    assert "\x1b" not in done.stdout
    assert TOKEN not in done.stdout
    assert done.stderr == ""


def test_the_rest_is_counted(code: Path, tmp_path: Path) -> None:
    done = analyze(code, "--limit", "1", home=tmp_path)
    assert "... and 2 more (--limit 0 shows all)" in done.stdout


def test_json_has_the_same_data(code: Path, tmp_path: Path) -> None:
    data = json.loads(analyze(code, "--format", "json", home=tmp_path).stdout)
    assert data["complete"] is True
    assert data["files"] == 2
    assert data["counts"]["critical"] == 1
    assert [run["tool"] for run in data["runs"]][-1] == "zizmor"


def test_sarif_is_the_same_every_time_kept_or_not(code: Path, tmp_path: Path) -> None:
    outputs = [
        analyze(code, "--format", "sarif", home=tmp_path).stdout,
        analyze(code, "--format", "sarif", home=tmp_path).stdout,
        analyze(code, "--format", "sarif", "--no-cache", home=tmp_path).stdout,
    ]
    assert len(set(outputs)) == 1
    assert json.loads(outputs[0])["version"] == "2.1.0"
    assert list((tmp_path / ".cache" / "insight-cloud").glob("*.kept"))


def test_no_cache_leaves_nothing_behind(code: Path, tmp_path: Path) -> None:
    analyze(code, "--no-cache", home=tmp_path)
    assert not (tmp_path / ".cache").exists()


def test_output_replaces_a_file_as_a_whole(code: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.sarif"
    target.write_text("before")
    done = analyze(code, "--format", "sarif", "--output", target, home=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert "3 findings written to" in done.stderr
    assert json.loads(target.read_text())["runs"]
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == ["out.sarif"]


def test_output_that_cannot_be_written_is_said(code: Path, tmp_path: Path) -> None:
    done = analyze(code, "--output", tmp_path / "no" / "file", home=tmp_path)
    assert done.returncode == 2
    assert "cannot write" in done.stderr


@pytest.mark.parametrize(
    ("level", "status"), [("critical", 1), ("high", 1), ("info", 1), (None, 0)]
)
def test_fail_on_counts_this_severity_and_worse(
    code: Path, tmp_path: Path, level: str | None, status: int
) -> None:
    arguments = ["--fail-on", level] if level else []
    assert analyze(code, *arguments, home=tmp_path).returncode == status


def test_fail_on_passes_over_what_is_milder_or_suppressed(tmp_path: Path) -> None:
    write(tmp_path / "code", {"a.py": f"T = '{TOKEN}'  # insight: allow-secret\n"})
    done = analyze(tmp_path / "code", "--fail-on", "info", home=tmp_path)
    assert done.returncode == 0
    assert "1 suppressed" in done.stdout


def test_a_detector_that_timed_out_makes_it_incomplete(code: Path, tmp_path: Path) -> None:
    done = analyze(code, "--detectors", "lizard", "--timeout", "0.001", home=tmp_path)
    assert done.returncode == 3
    assert "incomplete: lizard did not finish" in done.stdout
    assert "timed out" in done.stdout


def test_only_the_named_detectors_run(code: Path, tmp_path: Path) -> None:
    done = analyze(code, "--detectors", "ruff", "--format", "json", home=tmp_path)
    assert [run["tool"] for run in json.loads(done.stdout)["runs"]] == ["ruff"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["empty"], "there are no files to analyse in empty"),
        (["pipe"], "neither a directory nor a file"),
        ([".", "--detectors", "ruff,nonsense"], "there is no nonsense; choose from complexipy"),
        ([".", "--detectors", ""], "choose from"),
        ([".", "--timeout", "0"], "--timeout"),
        ([".", "--fail-on", "worst"], "--fail-on"),
    ],
)
def test_wrong_usage_is_one_clear_word(tmp_path: Path, arguments: list[str], words: str) -> None:
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    done = analyze(*arguments, home=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_one_file_can_be_analysed(code: Path, tmp_path: Path) -> None:
    done = analyze(code / "low.py", home=tmp_path)
    assert done.returncode == 0
    assert "1 files:" in done.stdout


def test_names_and_messages_cannot_steer_the_terminal(tmp_path: Path) -> None:
    write(tmp_path / "code", {"a\x1b[2J.py": "import os\n"})
    done = analyze(tmp_path / "code", home=tmp_path)
    assert "\x1b" not in done.stdout
    assert "import os" not in done.stderr


def test_an_upload_that_fails_is_told_after_the_result(code: Path, tmp_path: Path) -> None:
    done = analyze(code, "--upload", "--server", "http://127.0.0.1:9", home=tmp_path)
    assert done.returncode == 4
    assert "bad.py" in done.stdout
    assert "not uploaded" in done.stderr


def test_interrupted_it_kills_its_children_and_exits_130(tmp_path: Path) -> None:
    slow = "".join(f"def f{n}(x):\n    return x if x else {n}\n" for n in range(15_000))
    write(tmp_path / "code", {f"m{n}.py": slow for n in range(8)})
    process = subprocess.Popen(
        [INSIGHT, "analyze", str(tmp_path / "code"), "--no-cache", "--detectors", "lizard"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 30
    while not (children := _children(process.pid, b"lizard_worker")):
        assert process.poll() is None
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    assert b"interrupted" in stderr
    assert not any(Path(f"/proc/{child}").exists() for child in children)


def _children(parent: int, word: bytes) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                stat = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(stat[1]) == parent and word in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue  # ended while we looked
    return found
