"""`insight sarif check` says what the server would say."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from insight_cloud.cli.sarif import command
from tests.app.sarif import logs


def check(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, ["check", *map(str, arguments)])


def test_a_good_log_is_taken() -> None:
    answer = check(logs.FOLDER / "own-jscpd-requests-2.32.4.sarif")
    assert answer.exit_code == 0
    assert "taken" in answer.output
    assert "jscpd 5.4.2: ok, 19 findings (19 low)" in answer.output


def test_a_refused_log_is_a_failed_check_with_its_pointer() -> None:
    answer = check(logs.FOLDER / "edge/bad-results-not-array.sarif")
    assert answer.exit_code == 1
    assert "refused /runs/0/results: not an array" in answer.output


def test_a_log_that_breaks_the_schema_is_a_failed_check() -> None:
    answer = check("--json", logs.FOLDER / "pub-flawfinder-invalid-result.sarif")
    assert answer.exit_code == 1
    (told,) = json.loads(answer.output)
    assert told["refused"] is None
    assert told["runs"][0]["findings"] == 53
    assert told["warnings"][0]["pointer"] == "/runs/0/results/52"
    assert told["schema_faults"][0]["pointer"] == "/runs/0/results/52"


def test_one_bad_log_among_good_ones_fails_the_check() -> None:
    good, bad = logs.FOLDER / "edge/no-runs.sarif", logs.FOLDER / "edge/bad-json-syntax.sarif"
    assert check(good).exit_code == 0
    assert check(good, bad).exit_code == 1


def test_the_root_is_stripped(tmp_path: Path) -> None:
    log = tmp_path / "log.sarif"
    log.write_bytes(logs.made(logs.result("/p/a.py")))
    assert "outside" in check("--root", "/q", log).output
    assert "outside" not in check("--root", "/p", log).output
