from __future__ import annotations

import subprocess
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest

from insight_cloud.core.errors import Conflict, Invalid, Missing, Unavailable
from scripts import release

_TODAY = date(2026, 11, 23)


class Checkout:
    """A repository with two changes since 0.1.0; scripts are recorded, git is real."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ran: list[str] = []
        self.check_fails = False
        (root / "changes").mkdir(parents=True)
        (root / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "0.1.0"\n')
        (root / "CHANGELOG.md").write_text(
            "# Changelog\n\nWords.\n\n## 0.1.0 (2026-01-01)\n\n- a\n"
        )
        (root / "changes/README.md").write_text("How to.\n")
        (root / "changes/z.md").write_text("cache: Holds\nmore.\n")
        (root / "changes/a.md").write_text("web: Is faster.\n")
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("config", "user.name", "Somebody")
        self.git("config", "user.email", "somebody@example.com")
        self.commit()

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.root, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "Change")

    def run(self, command: Sequence[str]) -> str:
        self.ran.append(" ".join(command))
        if command[0] == "git":
            return self.git(*command[1:])
        if command[0] == "scripts/check" and self.check_fails:
            raise Unavailable("`scripts/check` ended with 1")
        return ""


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "checkout")


def test_the_plan_names_every_step_and_does_none(checkout: Checkout) -> None:
    before = checkout.git("rev-parse", "HEAD")
    steps = str(release.plan(checkout.root, "0.2.0", checkout.run))
    assert "tag v0.2.0" in steps
    assert "changes/a.md" in steps
    assert "README" not in steps
    assert checkout.git("status", "--porcelain") == ""
    assert checkout.git("rev-parse", "HEAD") == before


def test_a_release_moves_the_changes_into_the_changelog(checkout: Checkout) -> None:
    release.apply(checkout.root, "0.2.0", _TODAY, checkout.run)
    assert (checkout.root / "CHANGELOG.md").read_text() == (
        "# Changelog\n\nWords.\n\n"
        "## 0.2.0 (2026-11-23)\n\n- cache: Holds more.\n- web: Is faster.\n\n"
        "## 0.1.0 (2026-01-01)\n\n- a\n"
    )
    assert [path.name for path in (checkout.root / "changes").iterdir()] == ["README.md"]
    assert checkout.git("log", "-1", "--format=%s") == "Release 0.2.0"
    assert checkout.git("tag", "--points-at", "HEAD") == "v0.2.0"


def test_a_release_checks_first_and_builds_last(checkout: Checkout) -> None:
    release.apply(checkout.root, "0.2.0", _TODAY, checkout.run)
    assert checkout.ran[0] == "scripts/check"
    assert checkout.ran[-1].startswith("scripts/uv build")
    assert not any("push" in command for command in checkout.ran)


def test_a_failing_check_changes_nothing(checkout: Checkout) -> None:
    checkout.check_fails = True
    with pytest.raises(Unavailable):
        release.apply(checkout.root, "0.2.0", _TODAY, checkout.run)
    assert checkout.git("status", "--porcelain") == ""
    assert checkout.git("tag") == ""


def test_after_a_release_nothing_is_left_to_release(checkout: Checkout) -> None:
    release.apply(checkout.root, "0.2.0", _TODAY, checkout.run)
    with pytest.raises(Conflict, match=r"v0\.2\.0 exists"):
        release.plan(checkout.root, "0.2.0", checkout.run)
    with pytest.raises(Missing):
        release.plan(checkout.root, "0.3.0", checkout.run)


def test_a_dirty_checkout_is_refused(checkout: Checkout) -> None:
    (checkout.root / "new.py").touch()
    with pytest.raises(Conflict, match=r"new\.py"):
        release.plan(checkout.root, "0.2.0", checkout.run)


@pytest.mark.parametrize("version", ["0.0.9", "1", "v1.0.0", "1.0.0rc1"])
def test_a_version_of_another_form_or_a_lower_one_is_refused(
    checkout: Checkout, version: str
) -> None:
    with pytest.raises(Invalid):
        release.plan(checkout.root, version, checkout.run)


def test_the_first_release_needs_no_older_section() -> None:
    text = release.with_release("# Changelog\n\nWords.\n", "0.1.0", _TODAY, ["a: b."])
    assert text == "# Changelog\n\nWords.\n\n## 0.1.0 (2026-11-23)\n\n- a: b.\n"
