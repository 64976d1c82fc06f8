from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import ROOT


class Checkout:
    """The real gate with an `uv` that only notes what it was asked, and fails when told to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked = root / "asked"
        self.failing = ""
        (root / "scripts").mkdir()
        shutil.copy(ROOT / "scripts/check", root / "scripts/check")
        self.pytest = root / ".venv/bin/pytest"
        self.pytest.parent.mkdir(parents=True)
        self.pytest.touch(0o755)

    def check(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        uv = self.root / "scripts/uv"
        uv.write_text(
            f'#!/bin/bash\necho "$*" >>{self.asked}\n'
            f'if [[ -n "{self.failing}" && "$*" == *"{self.failing}"* ]]; then exit 3; fi\n'
        )
        uv.chmod(0o755)
        return subprocess.run(
            [self.root / "scripts/check", *arguments], capture_output=True, text=True, check=False
        )

    def ran(self, tool: str) -> bool:
        return tool in self.asked.read_text()


_STEPS = ("ruff format", "ruff check", "mypy", "lint-imports", "codespell", "generate_docs")


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_everything_runs_and_the_tests_come_last(checkout: Checkout) -> None:
    assert checkout.check().returncode == 0
    assert all(checkout.ran(step) for step in _STEPS)
    assert " pytest " in checkout.asked.read_text().splitlines()[-1]


@pytest.mark.parametrize("step", _STEPS)
def test_one_failing_step_fails_the_gate_and_hides_no_other(checkout: Checkout, step: str) -> None:
    checkout.failing = step
    done = checkout.check()
    assert done.returncode == 1
    assert "failed: " in done.stderr
    assert done.stdout.count("FAILED in") == 1
    assert all(checkout.ran(other) for other in _STEPS)
    assert not checkout.ran("pytest")


def test_failing_tests_fail_the_gate(checkout: Checkout) -> None:
    checkout.failing = "pytest"
    assert checkout.check().returncode == 3


def test_the_fast_form_leaves_out_the_tests(checkout: Checkout) -> None:
    assert checkout.check("--fast").returncode == 0
    assert not checkout.ran("pytest")


def test_arguments_reach_pytest(checkout: Checkout) -> None:
    assert checkout.check("--", "tests/core", "-x").returncode == 0
    assert checkout.asked.read_text().endswith(" tests/core -x\n")


def test_every_step_is_named_with_its_time(checkout: Checkout) -> None:
    assert checkout.check("--fast").stdout.count(": ok in ") == len(_STEPS)


def test_an_unknown_argument_is_refused(checkout: Checkout) -> None:
    done = checkout.check("--quick")
    assert done.returncode == 2
    assert "usage" in done.stderr


def test_an_empty_checkout_is_told_what_to_do_first(checkout: Checkout) -> None:
    checkout.pytest.unlink()
    done = checkout.check()
    assert done.returncode == 2
    assert "scripts/setup --tests" in done.stderr
