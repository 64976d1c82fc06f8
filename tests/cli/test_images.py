from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from click.testing import CliRunner

from insight_cloud.cli import insight
from insight_cloud.images import Signer
from tests.images.gallery import HOSTILE, jpeg, photo, png


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "cat.jpg").write_bytes(jpeg(photo(800, 600)))
    (folder / "dog.png").write_bytes(png(photo(300, 200)))
    return folder


def run(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(insight, ["images", *map(str, arguments)])
    status = getattr(done.exception, "exit_status", done.exit_code)
    return status, done.stdout, done.stderr or str(done.exception or "")


QUICK = ("--widths", "64,640", "--formats", "webp,jpeg")


def test_optimize_shows_progress_and_what_was_saved(folder: Path) -> None:
    status, out, err = run("optimize", folder, *QUICK)
    assert status == 0, err
    assert "[2/2]" in err
    lines = out.splitlines()
    assert lines[0].split() == ["image", "before", "after", "saved", "files"]
    assert lines[1].split()[0] == "cat.jpg"
    assert lines[-1].split()[0] == "all"
    assert (folder / "_images/images.json").exists()


def test_the_second_time_there_is_nothing_to_do(folder: Path) -> None:
    run("optimize", folder, *QUICK)
    assert run("plan", folder, *QUICK)[1] == "nothing to do\n"
    status, out, err = run("optimize", folder, *QUICK)
    assert (status, out) == (0, f"nothing to do: 2 images are up to date in {folder / '_images'}\n")
    assert err == ""


def test_a_plan_changes_nothing(folder: Path) -> None:
    status, out, _ = run("plan", folder, *QUICK)
    assert (status, out) == (0, "+ cat.jpg  (new)\n+ dog.png  (new)\n")
    assert not (folder / "_images").exists()


def test_an_image_that_cannot_be_read_is_named_and_the_status_is_1(folder: Path) -> None:
    (folder / "evil.png").write_bytes(HOSTILE["png-3600-megapixels"]())
    status, out, err = run("optimize", folder, *QUICK, "--json")
    assert status == 1
    data = json.loads(out)
    assert "60000" in data["problems"]["evil.png"]
    assert "evil.png: the image is 60000" in err
    assert {image["image"] for image in data["images"]} == {"cat.jpg", "dog.png"}


@pytest.mark.parametrize(
    "wrong",
    [
        ("--widths", "0"),
        ("--widths", "a,b"),
        ("--widths", ""),
        ("--widths", "99999"),
        ("--formats", "tiff"),
        ("--quality", "best"),
        ("--jobs", "0"),
    ],
)
def test_wrong_choices_are_refused(folder: Path, wrong: tuple[str, str]) -> None:
    status, _, err = run("optimize", folder, *wrong)
    assert status == 2
    assert wrong[0] in err
    assert not (folder / "_images").exists()


def test_a_folder_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    status, _, err = run("optimize", tmp_path / "none")
    assert status == 3
    assert "there is no folder" in err


def test_inspect_says_what_a_file_declares(folder: Path, tmp_path: Path) -> None:
    assert run("inspect", folder / "cat.jpg")[1] == "jpeg, 800 × 600 pixels\n"  # noqa: RUF001
    assert json.loads(run("inspect", folder / "cat.jpg", "--json")[1])["frames"] == 1
    (tmp_path / "evil.svg").write_bytes(HOSTILE["svg"]())
    status, _, err = run("inspect", tmp_path / "evil.svg")
    assert status == 4
    assert "SVG" in err
    assert run("inspect", tmp_path / "none")[0] == 3


def test_sign_prints_what_belongs_in_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSIGHT_IMAGES__KEYS", "k" * 32)
    url = "https://cats.example/a b.jpg"
    status, out, _ = run("sign", url, "--days", "1")
    assert status == 0
    query = parse_qs(out.strip())
    Signer(["k" * 32]).check(query["url"][0], query["s"][0], int(query["exp"][0]), now=1)
    assert query["url"] == [url]


def test_without_a_key_nothing_is_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INSIGHT_IMAGES__KEYS", raising=False)
    status, _, err = run("sign", "https://cats.example/a.jpg")
    assert status == 2
    assert "images.keys" in err


def test_ctrl_c_keeps_what_is_finished(folder: Path) -> None:
    for number in range(30):
        (folder / f"{number}.jpg").write_bytes(jpeg(photo(640 + number, 480)))
    command = ("images", "optimize", str(folder), "--widths", "640", "--formats", "avif")
    child = subprocess.Popen(
        [sys.executable, "-m", "insight_cloud.cli", *command],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stderr is not None
    while not child.stderr.readline().startswith("[2/"):
        assert child.poll() is None
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 130
    assert said.splitlines()[-1] == "insight: interrupted"
    assert not list((folder / "_images").rglob(".*"))
    kept = json.loads((folder / "_images/images.json").read_text())["images"]
    assert 2 <= len(kept) < 32
