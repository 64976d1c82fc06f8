"""Hashes of code: GitHub's to the letter, ours blind to blanks and to moves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.app.sarif import fingerprint
from insight_cloud.app.sarif.model import Finding, Location, Run
from tests.app.sarif import logs

VECTORS = json.loads((logs.FOLDER / "line-hash-vectors.json").read_text())["vectors"]


@pytest.mark.parametrize("vector", VECTORS)
def test_the_published_vectors_pass(vector: dict[str, object]) -> None:
    assert fingerprint.line_hashes(str(vector["text"])) == vector["hashes"]


def slow_hashes(text: str) -> list[str]:
    """The definition, character by character."""
    units = text.encode("utf-16-le", "surrogatepass")
    codes = [int.from_bytes(units[i : i + 2], "little") for i in range(0, len(units), 2)]
    kept: list[int] = []
    after_return = False
    for code in codes:
        blank = code in {9, 32} or (code == 10 and after_return)
        after_return = code == 13
        if not blank:
            kept.append(10 if code == 13 else code)
    kept.append(65535)
    starts = [0, *(i + 1 for i, code in enumerate(kept[:-1]) if code == 10)]
    counts: dict[int, int] = {}
    hashes = []
    for start in starts:
        window = (kept[start : start + 100] + [0] * 100)[:100]
        value = 0
        for code in window:
            value = (value * 37 + code) % 2**64
        counts[value] = counts.get(value, 0) + 1
        hashes.append(f"{value:x}:{counts[value]}")
    return hashes


@given(st.text(st.sampled_from("ab \t\r\n😀é"), max_size=400) | st.text(max_size=150))
def test_the_fast_way_is_the_definition(text: str) -> None:
    assert fingerprint.line_hashes(text) == slow_hashes(text)


def run_of(*places: tuple[str, int | None]) -> Run:
    findings = [
        Finding(
            rule="R",
            message="m",
            severity="low",
            category="style",
            location=Location(path=path, line=line),
        )
        for path, line in places
    ]
    return Run(tool="t", findings=tuple(findings))


def hashed(tmp_path: Path, text: str, line: int) -> Finding:
    (tmp_path / "a.py").write_text(text, newline="")
    (finding,) = fingerprint.add(run_of(("a.py", line)), root=tmp_path).findings
    return finding


def test_a_moved_and_reindented_line_keeps_its_hashes(tmp_path: Path) -> None:
    before = hashed(tmp_path, "a\nb = 1\nc\n", 2)
    after = hashed(tmp_path, "new\n\n  a\r\n\tb  =  1\r\n  c", 4)
    assert before.context_hash == after.context_hash
    assert before.line_hash == after.line_hash
    assert len(before.context_hash) == 16


def test_a_changed_neighbour_changes_the_context_alone(tmp_path: Path) -> None:
    before = hashed(tmp_path, "a\nb\nc\n", 2)
    after = hashed(tmp_path, "a\nb\nd\n", 2)
    assert before.context_hash != after.context_hash
    assert before.line_hash == after.line_hash


def test_the_hash_of_the_line_is_added_for_github(tmp_path: Path) -> None:
    text = VECTORS[1]["text"]
    expected = VECTORS[1]["hashes"][2]
    assert hashed(tmp_path, text, 3).fingerprints == {"primaryLocationLineHash": expected}


def test_first_and_last_lines_have_hashes(tmp_path: Path) -> None:
    assert hashed(tmp_path, "only", 1).context_hash
    assert hashed(tmp_path, "", 1).context_hash


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("absent.py", 1),
        ("../outside.py", 1),
        ("binary.py", 1),
        ("huge.py", 1),
        ("folder", 1),
        ("link.py", 1),
        ("short.py", 99),
        ("short.py", None),
        ("nul\0.py", 1),
        ("n" * 300, 1),
    ],
)
def test_what_cannot_be_read_stays_without_hashes(
    tmp_path: Path, path: str, line: int | None
) -> None:
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (tmp_path / "outside.py").write_text("secret")
    (root / "link.py").symlink_to(tmp_path / "outside.py")
    (root / "binary.py").write_bytes(b"a\0b")
    (root / "huge.py").write_bytes(b"x" * (fingerprint.LARGEST_FILE_BYTES + 1))
    (root / "short.py").write_text("a")
    run = run_of((path, line))
    assert fingerprint.add(run, root=root) == run


def test_a_tools_own_hash_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("a")
    (finding,) = run_of(("a.py", 1)).findings
    own = Finding(
        rule=finding.rule,
        message="m",
        severity="low",
        category="style",
        location=finding.location,
        fingerprints={fingerprint.GITHUB: "its own"},
    )
    (added,) = fingerprint.add(Run(tool="t", findings=(own,)), root=tmp_path).findings
    assert added.fingerprints == {fingerprint.GITHUB: "its own"}
