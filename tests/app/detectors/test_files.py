"""Which files are looked at: git's, else all but the usual; never beyond the root."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from insight_cloud.app.detectors import files
from insight_cloud.core.errors import Missing, Refused
from tests.app.detectors.trees import git, repository, write


async def names(path: Path, **limits: int) -> list[str]:
    return [file.name for file in (await files.read(path, **limits)).files]


async def reasons(path: Path) -> dict[str, str]:
    return {left.name: left.reason for left in (await files.read(path)).left_out}


async def test_in_a_working_copy_git_decides(tmp_path: Path) -> None:
    repository(tmp_path, {"kept.py": "", ".gitignore": "build/\n*.log\n", "gone.py": ""})
    write(tmp_path, {"new.py": "", "build/out.py": "", "x.log": "", "node_modules/m.js": ""})
    (tmp_path / "gone.py").unlink()
    assert await names(tmp_path) == [".gitignore", "kept.py", "new.py", "node_modules/m.js"]


async def test_a_directory_below_the_top_is_a_root_of_its_own(tmp_path: Path) -> None:
    repository(tmp_path, {"a.py": "", "sub/b.py": "", ".gitignore": "*.log\n"})
    write(tmp_path, {"sub/x.log": ""})
    assert await names(tmp_path / "sub") == ["b.py"]


async def test_a_directory_that_git_ignores_is_analysed_when_it_is_named(tmp_path: Path) -> None:
    repository(tmp_path, {".gitignore": "out/\n"})
    write(tmp_path, {"out/a.py": ""})
    assert await names(tmp_path / "out") == ["a.py"]


async def test_outside_of_git_the_usual_directories_are_passed_over(tmp_path: Path) -> None:
    folders = [".git", ".venv", "node_modules", "build", "dist", "__pycache__", "src", ".github"]
    write(tmp_path, {f"{folder}/a.py": "" for folder in folders})
    assert await names(tmp_path) == [".github/a.py", "src/a.py"]


async def test_one_file_can_be_named(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "", "b.py": ""})
    tree = await files.read(tmp_path / "b.py")
    assert (tree.root, [file.name for file in tree.files]) == (tmp_path, ["b.py"])


async def test_links_are_not_followed_out_of_the_root(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", {"secret.py": "", "sub/secret.py": ""})
    root = repository(tmp_path / "root", {"a.py": "", "sub/secret.py": ""})
    (root / "link.py").symlink_to(outside / "secret.py")
    (root / "folder").symlink_to(outside)
    (root / "inside.py").symlink_to("a.py")
    (root / "sub" / "secret.py").unlink()
    (root / "sub").rmdir()
    (root / "sub").symlink_to(outside / "sub")
    assert await names(root) == ["a.py"]
    left_out = await reasons(root)
    assert left_out["sub/secret.py"] == "behind a symbolic link"
    assert left_out["link.py"] == left_out["folder"] == left_out["inside.py"] == "a symbolic link"


async def test_outside_of_git_links_are_not_followed_either(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", {"secret.py": ""})
    root = write(tmp_path / "root", {"a.py": ""})
    (root / "folder").symlink_to(outside)
    (root / "link.py").symlink_to(outside / "secret.py")
    assert await names(root) == ["a.py"]


async def test_huge_and_binary_files_are_left_out_and_counted(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"image.py": b"\x89PNG\0\0", "huge.py": b"x" * (1024 * 1024 + 1), "just.py": b"x" * 99},
    )
    assert await names(tmp_path) == ["just.py"]
    assert await reasons(tmp_path) == {
        "huge.py": "larger than 1,024 KiB",
        "image.py": "binary",
    }


async def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    assert await reasons(tmp_path) == {"pipe.py": "not a regular file"}


async def test_a_repository_inside_is_left_out(tmp_path: Path) -> None:
    repository(tmp_path, {"a.py": ""})
    repository(tmp_path / "inner", {"b.py": ""})
    git(tmp_path, "-c", "advice.addEmbeddedRepo=false", "add", "inner")
    assert await names(tmp_path) == ["a.py"]
    assert (await reasons(tmp_path))["inner"] == "a repository of its own"


async def test_weird_names_are_kept_and_impossible_ones_named(tmp_path: Path) -> None:
    weird = ["with space.py", "new\nline.py", "-dash.py", "ünï.py", "#[x]{y}%20.py", "'\"$(id).py"]
    repository(tmp_path, dict.fromkeys(weird, ""))
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.py")).touch()  # noqa: ASYNC240 - a test may wait for its disk
    assert await names(tmp_path) == sorted(weird)
    assert await reasons(tmp_path) == {r"bad\xff.py": "its name is not UTF-8"}


@pytest.mark.parametrize(
    ("name", "content", "own"),
    [
        ("app.py", "x = 1\n", True),
        ("vendor/app.py", "x = 1\n", False),
        ("static/jquery.min.js", "x", False),
        ("proto/thing_pb2.py", "x", False),
        ("package-lock.json", "{}", False),
        ("locksmith.py", "x", True),
        ("bundle.js", "x" * 5000, False),
        ("long.py", "x = 1\n" * 2000, True),
    ],
)
async def test_vendored_and_generated_code_is_not_the_teams_own(
    tmp_path: Path, name: str, content: str, *, own: bool
) -> None:
    write(tmp_path, {name: content})
    (file,) = (await files.read(tmp_path)).files
    assert file.own is own


async def test_what_is_not_there_or_no_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="does not exist"):
        await files.read(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Refused, match="neither a directory nor a file"):
        await files.read(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(Refused, match="cannot read"):
        await files.read(tmp_path / "loop")
    bad = Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff"))
    bad.mkdir()  # noqa: ASYNC240 - a test may wait for its disk
    with pytest.raises(Refused, match="not UTF-8"):
        await files.read(bad)


async def test_an_empty_directory_is_an_empty_tree(tmp_path: Path) -> None:
    assert await files.read(tmp_path) == files.Tree(tmp_path, ())


async def test_the_digest_follows_the_content(tmp_path: Path) -> None:
    write(tmp_path, {"a": "same", "b": "same", "c": "other"})
    a, b, c = (await files.read(tmp_path)).files
    assert a.digest == b.digest != c.digest
