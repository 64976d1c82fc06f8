"""A release: what would be done as a plan, and the same plan carried out.

Nothing is pushed: what was made can still be looked at, and thrown away.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

from insight_cloud.core.errors import Conflict, InsightError, Invalid, Missing, Unavailable
from insight_cloud.core.plan import Change, Plan

ROOT = Path(__file__).resolve().parent.parent
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")

Run = Callable[[Sequence[str]], str]
"""Runs a command in the checkout and returns its output; raises `Unavailable` when it fails."""


def read_fragments(root: Path) -> dict[Path, str]:
    """The changes since the last release: each file and its text on one line, sorted by text."""
    found = {
        path: " ".join(path.read_text(encoding="utf-8").split())
        for path in (root / "changes").glob("*.md")
        if path.name != "README.md"
    }
    return dict(sorted(found.items(), key=lambda item: item[1]))


def read_version(root: Path) -> str:
    """The version that pyproject.toml has now."""
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    return str(tomllib.loads(text)["project"]["version"])


def plan(root: Path, version: str, run: Run) -> Plan:
    """What a release of `version` would do.

    Raises:
        Invalid: `version` is not MAJOR.MINOR.PATCH, or lower than the present one.
        Conflict: there are changes that are not committed, or the tag exists.
        Missing: nothing changed since the last release.
    """
    present = read_version(root)
    if _numbers(version) < _numbers(present):
        raise Invalid(f"{version} is lower than {present}, the present version")
    if changed := run(["git", "status", "--porcelain"]):
        raise Conflict(f"commit or remove these changes first:\n{changed}")
    if run(["git", "tag", "--list", f"v{version}"]):
        raise Conflict(f"the tag v{version} exists already; take the next version")
    fragments = read_fragments(root)
    if not fragments:
        raise Missing("changes/ holds no file: there is nothing to release")
    return Plan(
        (
            Change("run", "scripts/check", reason="only what passes the gate is released"),
            Change("update", "CHANGELOG.md", after=tuple(fragments.values())),
            *(Change("delete", str(path.relative_to(root))) for path in fragments),
            Change("update", "pyproject.toml", before=present, after=version),
            Change("run", "scripts/docs", reason="the reference names the version"),
            Change("run", "git commit", reason=f"Release {version}"),
            Change("create", f"tag v{version}"),
            Change("create", "dist/", reason="source distribution and wheel"),
        )
    )


def apply(root: Path, version: str, today: date, run: Run) -> None:
    """Carry out what `plan` said."""
    run(["scripts/check"])
    fragments = read_fragments(root)
    changelog = root / "CHANGELOG.md"
    text = changelog.read_text(encoding="utf-8")
    changelog.write_text(
        with_release(text, version, today, list(fragments.values())), encoding="utf-8"
    )
    for path in fragments:
        path.unlink()
    run(["scripts/uv", "version", "--quiet", version])
    run(["scripts/docs"])
    run(["git", "add", "--all"])
    run(["git", "commit", "--quiet", "--message", f"Release {version}"])
    run(["git", "tag", "--annotate", f"v{version}", "--message", f"Insight Cloud {version}"])
    shutil.rmtree(root / "dist", ignore_errors=True)
    run(["scripts/uv", "build", "--quiet"])


def with_release(changelog: str, version: str, today: date, changes: Sequence[str]) -> str:
    """Put the changes of a release above the older ones."""
    lines = [f"## {version} ({today.isoformat()})", "", *(f"- {change}" for change in changes)]
    introduction, divider, older = changelog.partition("\n## ")
    section = "\n".join(lines) + "\n"
    return f"{introduction.rstrip()}\n\n{section}" + (f"{divider}{older}" if divider else "")


def _numbers(version: str) -> tuple[int, ...]:
    found = _VERSION.fullmatch(version)
    if found is None:
        raise Invalid(f"{version!r} is not a version of the form MAJOR.MINOR.PATCH")
    return tuple(map(int, found.groups()))


def _run(command: Sequence[str]) -> str:
    program = ROOT / command[0] if command[0].startswith("scripts/") else command[0]
    quiet = command[0] == "git"
    done = subprocess.run(
        [program, *command[1:]],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if quiet else None,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Unavailable(f"`{' '.join(command)}` ended with {done.returncode}")
    return (done.stdout or "").strip()


def main(arguments: list[str]) -> int:
    """Print the plan; with --yes carry it out. Return the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/release", description=__doc__)
    parser.add_argument("version", help="MAJOR.MINOR.PATCH")
    parser.add_argument("--yes", action="store_true", help="do it, after printing the plan")
    given = parser.parse_args(arguments)
    try:
        print(plan(ROOT, given.version, _run), flush=True)
        if not given.yes:
            print("\nNothing was done. With --yes it is.")
            return 0
        apply(ROOT, given.version, datetime.now(UTC).date(), _run)
    except InsightError as error:
        print(f"scripts/release: {error}", file=sys.stderr)
        return error.exit_status
    print(f"\nMade. Look at dist/ and the commit, then: git push origin HEAD v{given.version}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
