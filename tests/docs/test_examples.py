"""Every example in the documentation runs, or is checked against the program if it must not."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from insight_cloud import settings
from insight_cloud.cli import insight
from insight_cloud.launch import checklist
from insight_cloud.launch import file as launch_file
from scripts import generate_docs
from tests.docs import pages
from tests.docs.pages import ROOT, Example

_LANGUAGES = {"console", "python", "toml", "text", "json", "yaml", "sql", "nginx", "ini"}
_EXAMPLES = [
    example
    for page in pages.all_pages()
    if not page.is_relative_to(pages.GENERATED)
    for example in pages.examples(page)
]


def _of(language: str, *, run: bool | None = None) -> list[Example]:
    return [
        example
        for example in _EXAMPLES
        if example.language == language and (run is None or run == (not example.not_run))
    ]


def test_every_example_names_a_language_that_is_checked_here() -> None:
    unknown = [str(example) for example in _EXAMPLES if example.language not in _LANGUAGES]
    assert unknown == []


def test_no_command_hides_in_an_example_that_is_not_checked() -> None:
    hiding = [
        str(example) for example in _of("text") if re.search(r"^\$ ", example.text, re.MULTILINE)
    ]
    assert hiding == []


@pytest.mark.parametrize("example", _of("console"), ids=str)
def test_the_commands_of_an_example_exist(example: Example) -> None:
    for command, _ in example.steps():
        for words in _commands(command):
            _assert_exists(words)


def _commands(line: str) -> list[list[str]]:
    """The simple commands of a shell line, without variables before and redirections behind."""
    simple: list[list[str]] = [[]]
    for word in shlex.split(line, comments=True):
        if word in {"|", "&&", "||", ";"}:
            simple.append([])
        elif simple[-1] or not re.fullmatch(r"[A-Z_0-9]+=.*", word):
            simple[-1].append(word)
    return [words for words in simple if words]


def _assert_exists(words: list[str]) -> None:
    program, *arguments = words
    if program == "sudo":
        _assert_exists([word for word in arguments if not word.startswith("-")])
    elif program == "insight" or program.endswith("bin/insight"):
        _assert_command(arguments)
    elif program == "make":
        found = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
        targets = found[1].split() if found else []
        assert set(arguments) <= set(targets), words
    elif program.startswith("scripts/"):
        assert os.access(ROOT / program, os.X_OK), words


def _assert_command(arguments: list[str]) -> None:
    """Walk down the groups, then let click itself find every option."""
    command: click.Command = insight
    context = generate_docs.context_of(insight, None, "insight")
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        below = command.get_command(context, arguments[0])
        assert below is not None, f"there is no command {context.command_path} {arguments[0]}"
        context = generate_docs.context_of(below, context, arguments[0])
        command, arguments = below, arguments[1:]
    arguments = [word for word in arguments if word not in {">", "<", "2>"}]
    command.make_parser(context).parse_args(arguments)  # raises NoSuchOption


@pytest.mark.parametrize("example", _of("console", run=True), ids=str)
async def test_a_console_example_prints_what_it_shows(example: Example, tmp_path: Path) -> None:
    work = _sandbox(tmp_path, log="report.sarif" in example.text)
    for command, shown in example.steps():
        done = await asyncio.to_thread(_shell, command, work)
        if not any(line.startswith("insight: ") for line in shown):  # as an error begins
            assert done.returncode == 0, f"$ {command}\n{done.stdout}"
        if shown and not _matches(done.stdout, shown):
            pytest.fail(f"{example}\n$ {command}\n{done.stdout}\ndoes not match\n{shown}")


def _sandbox(tmp_path: Path, *, log: bool) -> Path:
    """A home directory, and below it a small working copy as somebody may have it."""
    work = tmp_path / "home/work"
    work.mkdir(parents=True)
    (work / "app.py").write_text("import os\n\n\ndef main() -> None:\n    print(eval('1'))\n")
    if log:
        shutil.copy(ROOT / "tests/docs/example.sarif", work / "report.sarif")
    return work


def _shell(command: str, work: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=work,
        env={"HOME": str(work.parent), "PATH": path, "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )


def _matches(output: str, shown: list[str]) -> bool:
    """Whether the output is as shown; `...` stands for anything, as in doctest."""
    wanted = "\n".join(line.rstrip() for line in shown).strip()
    found = "\n".join(line.rstrip() for line in output.splitlines()).strip()
    pattern = ".*".join(re.escape(part) for part in wanted.split("..."))
    return re.fullmatch(pattern, found, re.DOTALL) is not None


@pytest.mark.parametrize("example", _of("python"), ids=str)
async def test_a_python_example_runs(example: Example, tmp_path: Path) -> None:
    compile(example.text, str(example), "exec")
    if example.not_run:
        return
    script = tmp_path / "example.py"
    script.write_text(example.text)
    command = [sys.executable, "-W", "error", str(script)]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("example", _of("toml"), ids=str)
def test_a_settings_example_is_accepted(example: Example, tmp_path: Path) -> None:
    tomllib.loads(example.text)
    if example.text.startswith("# launch.toml\n"):
        file = tmp_path / "launch.toml"
        file.write_text(example.text)
        launch_file.read(file, checklist())
    elif not example.not_run:
        file = tmp_path / "insight.toml"
        file.write_text(example.text)
        settings.load(file, environment={})


def test_the_comparison_of_output_can_fail() -> None:
    assert _matches("insight, version 0.1.0\n", ["insight, version ..."])
    assert not _matches("insight, version 0.1.0\n", ["insight, version 0.2.0"])
    assert not _matches("one\ntwo\n", ["one"])


@pytest.mark.parametrize("words", [["nothing"], ["serve", "--no-such-option"]])
def test_an_unknown_command_or_option_is_noticed(words: list[str]) -> None:
    with pytest.raises((AssertionError, click.UsageError)):
        _assert_command(words)


def test_brackets_in_output_mean_themselves() -> None:
    assert _matches("[a]", ["[a]"])
    assert not _matches("a", ["[a]"])
