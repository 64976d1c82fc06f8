from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from insight_cloud.cli import insight


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "static"
    folder.mkdir()
    (folder / "app.css").write_text(".a { color: red }\n" * 50)
    (folder / "dead.js").write_text("console.log('nobody');\n" * 50)
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages/index.html").write_text('<link href="app.css">')
    return folder


def run(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(insight, ["assets", *map(str, arguments)])
    status = getattr(done.exception, "exit_status", done.exit_code)
    return status, done.stdout, done.stderr or str(done.exception or "")


def test_build_says_what_it_did_and_the_second_time_that_there_is_nothing(folder: Path) -> None:
    output = folder.parent / "built"
    status, out, _ = run("build", folder, "--output", output)
    assert status == 0
    assert out.splitlines()[:2] == ["+ app.css  (new)", "+ dead.js  (new)"]
    assert run("plan", folder, "--output", output)[1] == "nothing to do\n"
    (folder / "app.css").write_text(".a { color: blue }\n" * 50)
    status, out, _ = run("build", folder, "--output", output, "--json")
    data = json.loads(out)
    assert [(one["verb"], one["name"]) for one in data["changes"]] == [("update", "app.css")]
    assert (output / data["files"][0]["path"]).exists()


def test_a_plan_writes_nothing(folder: Path) -> None:
    status, out, _ = run("plan", folder, "--output", folder.parent / "built", "--json")
    assert status == 0
    assert len(json.loads(out)) == 2
    assert not (folder.parent / "built").exists()


def test_a_build_into_itself_is_refused(folder: Path) -> None:
    status, _, err = run("build", folder, "--output", folder / "built")
    assert status == 2
    assert "its own results" in err


def test_a_folder_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    for command in (
        ("build", tmp_path / "none", "--output", tmp_path / "out"),
        ("report", tmp_path / "none"),
        ("report", tmp_path, "--used-in", tmp_path / "none"),
    ):
        assert run(*command)[0] == 3


def test_a_stylesheet_with_a_mistake_is_named(folder: Path) -> None:
    (folder / "bad.css").write_text("a { b: url(none.png) }")
    status, _, err = run("build", folder, "--output", folder.parent / "built")
    assert status == 3
    assert "bad.css refers to none.png" in err
    assert not (folder.parent / "built").exists()


def test_a_report_weighs_and_finds_what_nobody_uses(folder: Path) -> None:
    status, out, _ = run("report", folder, "--used-in", folder.parent / "pages")
    assert status == 0
    assert "pass  assets.initial:" in out
    assert "warn  assets.unused: dead.js" in out
    data = json.loads(run("report", folder, "--json")[1])
    assert {one["name"] for one in data["files"]} == {"app.css", "dead.js"}


def test_an_exceeded_budget_is_status_1(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSIGHT_ASSETS__INITIAL_BYTES", "50")
    status, out, _ = run("report", folder)
    assert status == 1
    assert "fail  assets.initial" in out
