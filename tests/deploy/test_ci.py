"""What CI systems are given: valid, pinned, shell that parses, commands and options that exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from insight_cloud.cli import insight

ROOT = Path(__file__).parents[2]
ACTION = ROOT / "deploy/ci/action/action.yml"
GITLAB = ROOT / "deploy/ci/insight.gitlab.yml"
HOOKS = ROOT / ".pre-commit-hooks.yaml"


def _read(file: Path) -> Any:
    return yaml.safe_load(file.read_text())


def _scripts() -> list[str]:
    steps = _read(ACTION)["runs"]["steps"]
    job = _read(GITLAB)["insight"]
    ours = [str(one["run"]) for one in steps if "run" in one]
    return ours + list(map(str, [*job["before_script"], *job["script"]]))


@pytest.mark.parametrize(
    ("file", "schema"),
    [(ACTION, "vendor.github-actions"), (GITLAB, "vendor.gitlab-ci")],
    ids=["action", "gitlab"],
)
def test_each_follows_its_schema(file: Path, schema: str, tmp_path: Path) -> None:
    def accepted(path: Path) -> bool:
        words = ["-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
        done = subprocess.run([sys.executable, *words], capture_output=True, check=False)
        return done.returncode == 0

    assert accepted(file)
    wrong = tmp_path / file.name
    wrong.write_text(file.read_text().replace("runs:", "run:").replace("script:\n", "scripts: 1\n"))
    assert not accepted(wrong)


def test_what_others_wrote_is_pinned_to_a_commit() -> None:
    used = [one["uses"] for one in _read(ACTION)["runs"]["steps"] if "uses" in one]
    assert used
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", one) for one in used)


def test_no_expression_stands_inside_a_script() -> None:
    """What comes from a pull request, such as a branch's name, must not become shell."""
    assert [script for script in _scripts() if "${{" in script] == []


@pytest.mark.parametrize("number", range(len(_scripts())))
def test_the_shell_parses(number: int) -> None:
    done = subprocess.run(
        ["bash", "-n"], input=_scripts()[number], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_commands_and_options_exist() -> None:
    text = "\n".join([*_scripts(), *(hook["entry"] for hook in _read(HOOKS))])
    for name in re.findall(r"\binsight (\w+)", text):
        command = insight.get_command(click.Context(insight), name)
        assert command is not None, name
    known = {
        option
        for name in ("analyze", "comment", "gate")
        for parameter in insight.get_command(click.Context(insight), name).params  # type: ignore[union-attr]  # asserted above
        for option in parameter.opts
    }
    foreign = {"--quiet", "--no-install-recommends"}
    assert set(re.findall(r"(?<=\s)--[a-z-]+|(?<=\()--[a-z-]+", text)) <= known | foreign
