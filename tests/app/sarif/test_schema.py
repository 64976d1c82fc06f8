"""The schema agrees with what is known about the recorded logs."""

from __future__ import annotations

from pathlib import Path

import pytest

from insight_cloud.app.sarif import schema
from tests.app.sarif import logs

BREAKING = {
    "bad-driver-name-null": "/runs/4/tool/driver/name",
    "bad-results-not-array": "/runs/0/results",
    "bad-version-2.0.0": "/version",
    "pub-flawfinder-invalid-result": "/runs/0/results/52",
}


@pytest.mark.parametrize("path", logs.ALL, ids=lambda path: path.stem)
def test_only_the_logs_that_break_the_schema_have_faults(path: Path) -> None:
    found = schema.faults(path.read_bytes())
    assert bool(found) == (path.stem in BREAKING)
    if found:
        assert found[0].pointer == BREAKING[path.stem]


def test_faults_are_bounded() -> None:
    assert len(schema.faults(logs.made(*[{}] * 50), most=7)) == 7


def test_what_is_not_json_has_no_faults_here() -> None:
    assert schema.faults(b"{") == []
