"""The backup workflow for users is what GitHub accepts, safe, and calls commands that exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from ruamel.yaml import YAML

from insight_cloud.cli.backup import command

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy/ci/backup.github.yml"


@pytest.fixture
def workflow() -> Any:
    return YAML(typ="safe").load(FILE)


def _schema(file: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("check-jsonschema")
    words = [str(program), "--builtin-schema", "vendor.github-workflows", str(file)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_it_follows_the_schema_of_workflows(tmp_path: Path) -> None:
    assert _schema(FILE).returncode == 0, _schema(FILE).stdout
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(FILE.read_text().replace("runs-on:", "run-on:"))
    assert _schema(wrong).returncode != 0


def test_zizmor_finds_nothing() -> None:
    program = Path(sys.executable).with_name("zizmor")
    words = [str(program), "--offline", "--no-progress", "--persona=pedantic", str(FILE)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_three_schedules_have_their_types(workflow: Any) -> None:
    crons = [item["cron"] for item in workflow["on"]["schedule"]]
    assert crons == ["0 2 * * *", "0 3 * * 0", "0 4 1 * *"]
    chosen = workflow["jobs"]["backup"]["env"]["TYPE"]
    found = re.findall(r"schedule == '([^']+)' && '(\w+)'", chosen)
    assert found == list(zip(crons, ["daily", "weekly", "monthly"], strict=True))
    options = workflow["on"]["workflow_dispatch"]["inputs"]["type"]["options"]
    assert set(options) == {"by date", "manual", "daily", "weekly", "monthly"}


def test_its_commands_and_options_exist() -> None:
    called = re.findall(
        r"insight backup ([a-z-]+)((?: --[a-z-]+(?: \"\$TYPE\")?)*)", FILE.read_text()
    )
    assert {name for name, _ in called} == {
        "create",
        "verify",
        "drill",
        "status",
        "list",
        "new-key",
    }
    assert isinstance(command, click.Group)
    for name, options in called:
        known = {option for parameter in command.commands[name].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", options)) <= known


def test_no_secret_is_on_a_command_line(workflow: Any) -> None:
    for step in workflow["jobs"]["backup"]["steps"]:
        assert "secrets." not in step.get("run", "")
