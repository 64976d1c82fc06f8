from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from insight_cloud.core.errors import Refused
from insight_cloud.core.report import Check, Report
from insight_cloud.tuning import Finding, reports

AT = datetime(2026, 11, 25, 12, tzinfo=UTC)


def run(
    number: int, *targets: str, subject: str = "local/shop", size: float = 1
) -> reports.Document:
    findings = [Finding("index.unused", target, "<b>never</b>") for target in targets]
    return reports.document(
        "database",
        subject,
        AT + timedelta(hours=number),
        Report.of([Check("database.index.unused", "warn" if targets else "pass")]),
        findings,
        metrics={"bytes": size},
    )


def test_a_run_is_compared_with_the_one_before_on_the_same_subject(tmp_path: Path) -> None:
    _, first = reports.save(tmp_path, run(0, "a", "b"), keep=5)
    assert first.previous is None
    reports.save(tmp_path, run(1, "z", subject="local/other"), keep=5)
    path, second = reports.save(tmp_path, run(2, "b", "c", size=2), keep=5)
    assert second.previous == AT
    assert second.new == ("index.unused c",)
    assert second.gone == ("index.unused a",)
    assert second.metrics == {"bytes": (1, 2)}
    assert len(reports.history(tmp_path, "database", "local/shop")) == 2
    assert b'"compared"' in path.read_bytes()


def test_the_page_shows_everything_as_text_and_needs_nothing_else(tmp_path: Path) -> None:
    reports.save(tmp_path, run(0, "a", size=1), keep=5)
    path, _ = reports.save(tmp_path, run(1, "a", size=3), keep=5)
    page = path.with_suffix(".html").read_text()
    assert "&lt;b&gt;never&lt;/b&gt;" in page
    assert "<svg" in page
    assert "<script" not in page
    assert "http" not in page


def test_only_the_newest_runs_are_kept(tmp_path: Path) -> None:
    (tmp_path / "database-notes.json").write_text("mine")
    for number in range(5):
        reports.save(tmp_path, run(number), keep=2)
    assert len(list(tmp_path.glob("database-2*.json"))) == 2
    assert len(list(tmp_path.glob("*.html"))) == 2
    assert (tmp_path / "database-notes.json").exists()


def test_a_report_that_is_damaged_is_passed_over(tmp_path: Path) -> None:
    path, _ = reports.save(tmp_path, run(0, "a"), keep=5)
    path.write_text("{")
    _, comparison = reports.save(tmp_path, run(1, "a"), keep=5)
    assert comparison.previous is None


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="cannot write the report"):
        reports.save(tmp_path / "file", run(0), keep=5)
