from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

_TOOLS = ("bash", "dirname", "grep", "cat", "mktemp", "rm", "env")


class Machine:
    """Directories as PATH: a few real tools, and `id`, `apt-get`, `apt-cache` of our own."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        self.said = folder / "apt-get.log"
        for tool in _TOOLS:
            (self.bin / tool).symlink_to(str(shutil.which(tool)))
        shutil.copytree(ROOT / "scripts", folder / "scripts")
        self.scripts = folder / "scripts"
        (self.scripts / "packages.txt").write_text(
            "# a comment\n"
            "tests  browser|other-browser  command:browser|other-browser  pages are looked at\n"
            "tests  server                 file:/no/such/*/server         data are stored\n"
            "other  else                   command:else                   nobody asked\n"
        )

    def program(self, name: str, body: str) -> None:
        (self.bin / name).write_text(f"#!/bin/bash\n{body}\n")
        (self.bin / name).chmod(0o755)

    def run(self, user: int, need: str = "tests") -> subprocess.CompletedProcess[str]:
        self.program("id", f"echo {user}")
        return subprocess.run(
            [self.scripts / "packages", need],
            env={"PATH": str(self.bin)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.program("apt-cache", '[[ $2 == browser ]] || echo "  Candidate: 1.0"')
    machine.program("apt-get", f'echo "$@" >>{machine.said}')
    return machine


def test_without_root_the_missing_packages_and_their_command_are_named(machine: Machine) -> None:
    done = machine.run(user=1000)
    assert done.returncode == 2
    assert "browser: pages are looked at" in done.stderr
    assert "server: data are stored" in done.stderr
    assert "else" not in done.stderr
    assert "sudo apt-get" in done.stderr
    assert "apt-get install -y --no-install-recommends other-browser server" in done.stderr
    assert not machine.said.exists()


def test_as_root_the_missing_packages_are_installed(machine: Machine) -> None:
    done = machine.run(user=0)
    assert done.returncode == 0, done.stderr
    assert machine.said.read_text().splitlines() == [
        "update",
        "install -y --no-install-recommends other-browser server",
    ]


def test_what_is_there_is_not_installed_again(machine: Machine) -> None:
    machine.program("other-browser", "true")
    done = machine.run(user=1000)
    assert "browser" not in done.stderr
    assert "server" in done.stderr


def test_nothing_missing_is_no_failure_and_no_output(machine: Machine) -> None:
    done = machine.run(user=1000, need="nothing-has-this-need")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_failing_installation_is_told_with_its_reason(machine: Machine) -> None:
    machine.program("apt-get", 'echo "E: no space left" >&2; exit 100')
    done = machine.run(user=0)
    assert done.returncode == 100
    assert "no space left" in done.stderr


def test_a_machine_without_apt_is_told_what_to_look_for(machine: Machine) -> None:
    (machine.bin / "apt-get").unlink()
    done = machine.run(user=0)
    assert done.returncode == 2
    assert "package manager" in done.stderr


def test_every_listed_package_has_a_probe_and_a_reason() -> None:
    lines = (ROOT / "scripts/packages.txt").read_text().splitlines()
    for line in (line for line in lines if not line.startswith("#")):
        need, package, probe, reason = line.split(maxsplit=3)
        assert need in {"uv", "tests", "bench"}
        assert package
        assert probe.partition(":")[0] in {"module", "file", "command"}
        assert reason


def test_on_this_machine_nothing_is_missing() -> None:
    """The tests run here, so what they need is here: else a probe is wrong."""
    done = subprocess.run(
        [ROOT / "scripts/packages", "tests"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
