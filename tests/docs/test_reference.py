"""The reference is what the program says today, and the program says something about everything."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from insight_cloud import settings
from insight_cloud.cli import insight
from scripts import generate_docs
from tests.docs.pages import ROOT

_FIELDS = [(section, name) for section, model in settings.sections() for name in model.model_fields]


def _commands(
    command: click.Command, context: click.Context
) -> Iterator[tuple[str, click.Command]]:
    yield context.command_path, command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from _commands(below, generate_docs.context_of(below, context, name))


_COMMANDS = dict(_commands(insight, generate_docs.context_of(insight, None, "insight")))


def test_what_is_generated_is_up_to_date() -> None:
    """In a process of its own: other tests ask commands for help, and click remembers how."""
    command = [sys.executable, str(ROOT / "scripts/generate_docs.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_page_that_is_out_of_date_is_told_with_the_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = {Path("a.md"): "new\n", Path("docs/reference/b.md"): "same\n"}
    monkeypatch.setattr(generate_docs, "ROOT", tmp_path)
    monkeypatch.setattr(generate_docs, "pages", lambda: wanted)
    assert generate_docs.main(["--check"]) == 1
    assert "+new" in capsys.readouterr().out
    assert generate_docs.main([]) == 0
    (tmp_path / "docs/reference/stale.md").touch()
    assert generate_docs.main(["--check"]) == 1
    assert "stale.md: nothing generates this file" in capsys.readouterr().out
    assert generate_docs.main([]) == 0
    assert generate_docs.main(["--check"]) == 0


@pytest.mark.parametrize(("section", "name"), _FIELDS)
def test_every_setting_is_documented(section: str, name: str) -> None:
    field = dict(settings.sections())[section].model_fields[name]
    assert field.description, "a setting needs a sentence"
    page = (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8")
    assert f"`INSIGHT_{section.upper()}__{name.upper()}`" in page


def test_every_well_known_name_is_documented() -> None:
    page = (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8")
    assert [name for name in settings.WELL_KNOWN if f"`{name}`" not in page] == []


@pytest.mark.parametrize("path", _COMMANDS)
def test_every_command_says_what_it_does_and_how_it_ends(path: str) -> None:
    command = _COMMANDS[path]
    assert command.help
    if not isinstance(command, click.Group) or command is insight:
        assert command.epilog
        assert "Exit status" in command.epilog
    silent = [
        option.name
        for option in command.params
        if isinstance(option, click.Option) and not option.help and not option.hidden
    ]
    assert silent == []


def test_the_example_file_is_accepted_with_every_default_taken_in(tmp_path: Path) -> None:
    kept = [
        line.removeprefix("# ") if " = " in line else line
        for line in generate_docs.example_file().splitlines()
        if line.startswith("[") or (" = " in line and not line.endswith("…"))
    ]
    file = tmp_path / "insight.toml"
    file.write_text("\n".join(kept))
    assert tomllib.loads(file.read_text())["server"]["port"] == 8000
    assert settings.load(file, environment={}) == settings.Settings()
