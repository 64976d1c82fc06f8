"""The workflow files for users: valid for GitHub, safe to copy, and of commands that exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from insight_cloud.cli import insight

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "deploy/ci").glob("*.github.yml"))

each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


def read(file: Path) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load(file.read_text())
    return found


def test_there_are_workflows() -> None:
    assert FILES


@each_file
def test_github_accepts_it(file: Path) -> None:
    """By the schema that editors use for workflows."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "check_jsonschema"),
            *("--builtin-schema", "vendor.github-workflows", str(file)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_schema_refuses_what_is_wrong(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(FILES[0].read_text().replace("runs-on:", "run-on:"))
    with pytest.raises(AssertionError, match="run-on"):
        test_github_accepts_it(wrong)


@each_file
def test_zizmor_finds_no_hole_in_it(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / ".github/workflows/copied.yml"
    copy.parent.mkdir(parents=True)
    copy.write_text(file.read_text())
    program = Path(sys.executable).with_name("zizmor")
    done = subprocess.run(
        [program, "--offline", "--no-progress", "--min-severity", "medium", str(copy)],
        capture_output=True,
        text=True,
        check=False,
        env={"NO_COLOR": "1", "PATH": ""},
    )
    assert "completed" in done.stderr, done.stderr
    findings = re.findall(r"^(?:error|warning)\[([a-z-]+)\]", done.stdout, re.MULTILINE)
    # A tag of GitHub's own actions may move: whoever copies the file pins what they trust.
    assert set(findings) <= {"unpinned-uses"}, done.stdout


@each_file
def test_every_command_in_it_exists(file: Path) -> None:
    found = 0
    for job in read(file)["jobs"].values():
        for step in job["steps"]:
            for line in step.get("run", "").splitlines():
                if line.strip().startswith("insight "):
                    check(shlex.split(line.partition("|")[0])[1:])
                    found += 1
    assert found or "uses: ./.github/actions" in file.read_text()


def check(words: list[str]) -> None:
    """Follow the words to a command, and see that it knows the options."""
    command: click.Command = insight
    context = click.Context(insight)
    while isinstance(command, click.Group):
        word = words.pop(0)
        following = command.get_command(context, word)
        assert following is not None, f"there is no command {word}"
        command = following
    options = {name for one in command.params for name in one.opts}
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in options, f"{command.name} has no option {word}"


def test_the_site_is_deployed_when_what_it_is_made_of_changes() -> None:
    workflow = read(ROOT / "deploy/ci/cdn.github.yml")
    on = workflow[True]  # YAML 1.1 reads the word `on` so
    assert {"public/**", "src/**", "app/**"} <= set(on["push"]["paths"])
    assert on["push"]["branches"] == ["main"]
    assert "workflow_dispatch" in on
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["cancel-in-progress"] is False


@each_file
def test_no_secret_is_near_what_is_installed_from_elsewhere(file: Path) -> None:
    """Packages of npm run their own code when they are built."""
    for job in read(file)["jobs"].values():
        if any("npm" in step.get("run", "") for step in job["steps"]):
            assert "secrets." not in str(job)
