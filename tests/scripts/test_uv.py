from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with nothing but the script, and a PATH with nothing but what it may need."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/uv", tmp_path / "scripts/uv")
    (tmp_path / "bin").mkdir()
    for tool in ("bash", "env", "dirname"):
        (tmp_path / "bin" / tool).symlink_to(str(shutil.which(tool)))
    return tmp_path


def _program(file: Path, body: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/bash\n{body}\n")
    file.chmod(0o755)


def _uv(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "scripts/uv", *arguments],
        env={"PATH": str(checkout / "bin"), "VIRTUAL_ENV": "/somebody/elses"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_uv_on_path_is_used(checkout: Path) -> None:
    _program(checkout / "bin/uv", 'echo "$@" "${VIRTUAL_ENV:-ours}"')
    assert _uv(checkout, "sync").stdout == "sync ours\n"


def test_a_uv_that_does_not_work_is_passed_over(checkout: Path) -> None:
    _program(checkout / "bin/uv", "exit 127")
    _program(checkout / ".tools/bin/uv", 'echo private "$@"')
    assert _uv(checkout, "sync").stdout == "private sync\n"


def test_the_script_does_not_call_itself(checkout: Path) -> None:
    (checkout / "bin/uv").symlink_to(checkout / "scripts/uv")
    _program(checkout / ".tools/bin/uv", 'echo private "$@"')
    assert _uv(checkout, "sync").stdout == "private sync\n"


def test_a_private_uv_is_installed_once(checkout: Path) -> None:
    _program(checkout / "scripts/packages", "exit 0")
    # The made-up pip writes the uv that a real one would install.
    _program(
        checkout / "bin/python3",
        'to=${@: -1}; if [[ $1 == -m ]]; then cp -r "${to%/*}/prepared" "$to"; fi',
    )
    _program(
        checkout / "prepared/bin/pip",
        'here=$(dirname "$0"); echo "pip $*" >&2\n'
        'printf "#!/bin/bash\\necho installed \\"\\$@\\"\\n" >"$here/uv"; chmod +x "$here/uv"',
    )
    for tool in ("cp", "chmod"):
        (checkout / "bin" / tool).symlink_to(str(shutil.which(tool)))
    first, second = _uv(checkout, "sync"), _uv(checkout, "sync")
    assert first.stdout == second.stdout == "installed sync\n"
    assert "uv>=" in first.stderr
    assert second.stderr == ""


def test_a_python_that_is_too_old_is_named(checkout: Path) -> None:
    _program(checkout / "bin/python3", 'if [[ $1 == -c ]]; then exit 1; fi; echo "Python 3.9.2"')
    done = _uv(checkout, "sync")
    assert done.returncode == 2
    assert "3.11 or newer" in done.stderr
    assert "Python 3.9.2" in done.stderr


def test_missing_system_packages_end_the_installation(checkout: Path) -> None:
    _program(checkout / "bin/python3", "exit 0")
    _program(checkout / "scripts/packages", "echo get python3-venv >&2; exit 2")
    done = _uv(checkout, "sync")
    assert done.returncode == 2
    assert "get python3-venv" in done.stderr
    assert not (checkout / ".tools").exists()
