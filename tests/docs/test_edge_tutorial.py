"""The tutorial of the edge as one story: every command in its order, with the output it shows."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from insight_cloud.edge import file
from insight_cloud.edge.samples import read as read_samples
from tests.docs import pages
from tests.docs.pages import ROOT, Example
from tests.docs.test_examples import _matches, _shell
from tests.edge.support import asked

PAGES = [ROOT / f"docs/{kind}/edge.md" for kind in ("tutorial", "howto", "explain")]
TUTORIAL = PAGES[0]
_STORY = "tests/docs/test_edge_tutorial.py runs this page as one story"
_PORT = "8787"


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """The first step, which runs until Ctrl-C: the folder of the story, and the port."""
    work = tmp_path / "home/work"
    work.mkdir(parents=True)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "insight_cloud.cli", "edge"),
            *("fake", "--write", "insight.toml", "--port", "0"),
        ],
        cwd=work,
        env={"PATH": os.environ["PATH"], "HOME": str(work.parent), "LC_ALL": "C.UTF-8"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = ""
    while "Ctrl-C ends it" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    found = re.search(r"127\.0\.0\.1:(\d+)", said)
    assert found is not None
    (_, shown), *_ = next(_story()).steps()
    assert _matches(said.replace(found[1], _PORT), shown)
    yield work, found[1]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)


def _story() -> Iterator[Example]:
    for example in pages.examples(TUTORIAL):
        if example.language == "console" and example.not_run == _STORY:
            yield example


async def test_the_tutorial_goes_as_it_says(stand_in: tuple[Path, str]) -> None:
    work, port = stand_in
    _, *examples = _story()
    for example in examples:
        for command, shown in example.steps():
            done = await asyncio.to_thread(_shell, command.replace(_PORT, port), work)
            assert done.returncode == 0, f"{example}\n$ {command}\n{done.stdout}"
            if shown and not _matches(done.stdout.replace(port, _PORT), shown):
                pytest.fail(f"{example}\n$ {command}\n{done.stdout}\ndoes not match\n{shown}")


def _tables(reason: str) -> list[Example]:
    return [
        example
        for page in PAGES
        for example in pages.examples(page)
        if example.language == "toml" and example.not_run == reason
    ]


@pytest.mark.parametrize("example", _tables("part of edge.toml"), ids=str)
def test_a_part_of_an_edge_file_is_accepted(example: Example) -> None:
    zone = "" if "[zone]" in example.text else '[zone]\nname = "example.com"\nplan = "business"\n\n'
    assert asked(zone + example.text).zone == "example.com"


@pytest.mark.parametrize("example", _tables("part of edge.samples.toml"), ids=str)
def test_a_part_of_a_table_of_samples_is_accepted(example: Example) -> None:
    assert read_samples(example.text) != read_samples("")


def test_the_shipped_files_are_accepted() -> None:
    for variant in file.DEFAULTS:
        assert asked(file.default(variant)).rulesets
    assert len(read_samples(file.default_samples()).requests) > 30
