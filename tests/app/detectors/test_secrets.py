"""Secrets in files: what is reported, and what never is."""

from __future__ import annotations

from pathlib import Path

import msgspec

from insight_cloud.app.detectors import secrets
from tests.app.detectors.test_tokens import SECRETS
from tests.app.detectors.trees import places, run, write


async def test_two_on_one_line_are_two_findings_with_their_columns(tmp_path: Path) -> None:
    line = f"a = '{SECRETS['github-token']}'; b = '{SECRETS['npm-token']}'\n"
    write(tmp_path, {"a.py": "\n" + line})
    done = await run(tmp_path, secrets.detector)
    assert [(each.rule, each.severity) for each in done.findings] == [
        ("github-token", "critical"),
        ("npm-token", "critical"),
    ]
    one, two = (each.location for each in done.findings)
    assert one is not None
    assert two is not None
    assert (one.line, one.column, one.end_column) == (2, 6, 46)
    assert two.column == line.index("npm_") + 1


async def test_no_value_leaves_the_file(tmp_path: Path) -> None:
    write(tmp_path, {f"{code}.txt": f"x\n{value}\ny\n" for code, value in SECRETS.items()})
    done = await run(tmp_path, secrets.detector)
    assert {each.rule for each in done.findings} == SECRETS.keys()
    said = msgspec.json.encode(done).decode()
    for value in SECRETS.values():
        for part in value.split():
            assert len(part) < 20 or part not in said


async def test_hashes_do_not_tell_whether_a_guess_was_right(tmp_path: Path) -> None:
    one = write(tmp_path / "one", {"a.py": 'password = "r4nD0m5Tr1nG8v6K2x9Q"\nx = 1\n'})
    two = write(tmp_path / "two", {"a.py": 'password = "zZ9kW3pL8mN2bV6cX1tY"\nx = 1\n'})
    (first,) = (await run(one, secrets.detector)).findings
    (second,) = (await run(two, secrets.detector)).findings
    assert first.context_hash
    assert first == second


async def test_tests_and_documents_count_less(tmp_path: Path) -> None:
    names = ["app.py", "tests/a.py", "README.md", "config.example.yml", "docs/x.txt"]
    write(tmp_path, dict.fromkeys(names, SECRETS["github-token"]))
    done = await run(tmp_path, secrets.detector)
    assert {
        place[1]: each.severity for place, each in zip(places(done), done.findings, strict=True)
    } == {
        "app.py": "critical",
        "tests/a.py": "medium",
        "README.md": "medium",
        "config.example.yml": "medium",
        "docs/x.txt": "medium",
    }


async def test_a_comment_suppresses_and_stays_visible(tmp_path: Path) -> None:
    token = SECRETS["github-token"]
    write(tmp_path, {"a.py": f"a = '{token}'  # insight: allow-secret\nb = '{token}'\n"})
    done = await run(tmp_path, secrets.detector)
    assert [each.suppressed for each in done.findings] == [True, False]


async def test_lock_files_are_searched_for_tokens_only(tmp_path: Path) -> None:
    line = f"{SECRETS['generic-secret']}\n{SECRETS['github-token']}\n"
    write(tmp_path, {"package-lock.json": line})
    done = await run(tmp_path, secrets.detector)
    assert [each.rule for each in done.findings] == ["github-token"]


async def test_any_bytes_can_be_read(tmp_path: Path) -> None:
    write(tmp_path, {"a.txt": b"\xff\xfe\r\n" + SECRETS["github-token"].encode() + b"\xff\r\n"})
    assert places(await run(tmp_path, secrets.detector)) == [("github-token", "a.txt", 2)]
