"""`insight init`: a file that is there is never touched."""

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from insight_cloud import settings
from insight_cloud.cli import insight
from insight_cloud.core.errors import Conflict


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "My Project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_the_file_names_the_folder_outside_of_git(checkout: Path) -> None:
    done = CliRunner().invoke(insight, ["init"])
    assert done.exit_code == 0
    assert (checkout / "insight.toml").read_text() == '[project]\nslug = "my-project"\n'
    assert "insight analyze . --upload" in done.stderr


def test_the_file_names_the_remote_and_is_valid(checkout: Path) -> None:
    subprocess.run(["git", "init", "-q", "."], check=True)
    subprocess.run(["git", "remote", "add", "origin", "git@host:team/Some.Thing.git"], check=True)
    done = CliRunner().invoke(insight, ["init", "--server", "insight.example", "--json"])
    assert done.exit_code == 0
    found = settings.load(checkout / "insight.toml", environment={})
    assert found.project.slug == "some-thing"
    assert found.client.server == "http://insight.example"


def test_a_file_that_is_there_is_left_alone(checkout: Path) -> None:
    (checkout / "insight.toml").write_text("[project]\n")
    done = CliRunner().invoke(insight, ["init"])
    assert isinstance(done.exception, Conflict)
    assert (checkout / "insight.toml").read_text() == "[project]\n"
