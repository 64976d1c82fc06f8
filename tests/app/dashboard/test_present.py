"""From what the services know to what pages say."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest

from insight_cloud.app.dashboard import present
from insight_cloud.app.dashboard.queries import Identity, RuleText, RunState
from insight_cloud.app.dashboard.views import Change, Counts
from insight_cloud.app.issues.models import Counts as OpenCounts
from insight_cloud.app.issues.models import Day, Top
from insight_cloud.app.projects.models import Project

TODAY = date(2026, 11, 22)
ID = UUID(int=1)
PROJECT = Project(1, ID, "demo", "Demo", "main", b"", datetime(2026, 1, 1, tzinfo=UTC), None)


def test_counts_add_up_by_severity() -> None:
    assert present.counts([(5, 1), (1, 2), (5, 3)]) == Counts(critical=4, info=2)


def test_changes_sort_by_the_worst_severity_first() -> None:
    rows = [("a", 5, 1, 0), ("b", 4, 9, 0), ("c", 4, 9, 10), ("a", 3, 0, 50)]
    changes = present.changes(rows)
    assert changes["a"] == Change(Counts(1, 0, 0), Counts(0, 0, 50))
    assert sorted(changes, key=lambda slug: changes[slug].worse, reverse=True) == ["a", "b", "c"]


def test_categories_come_worst_first_and_link_to_their_issues() -> None:
    rows = [("style", 1, 90), ("security", 5, 1), ("security", 3, 2)]
    found = present.categories(rows, project=PROJECT, branch="other")
    assert [(line.name, line.open.total) for line in found] == [("security", 3), ("style", 90)]
    assert found[0].href == "/projects/demo/issues?branch=other&category=security"


def test_a_top_rule_is_named_by_its_code_and_said_by_its_summary() -> None:
    texts = [RuleText("Semgrep OSS a.b", "Semgrep OSS", "a.b", "A", "What it is")]
    known, unknown = present.ranked_rules(
        [Top("Semgrep OSS a.b", 4, "high"), Top("x y", 1, "low")],
        texts,
        project=PROJECT,
        branch="main",
    )
    assert (known.label, known.detail) == ("a.b", "Semgrep OSS · What it is")
    assert known.href == "/projects/demo/issues?tool=Semgrep+OSS&rule=a.b"
    assert (unknown.label, unknown.detail) == ("x y", "")


def test_an_incomplete_analysis_says_which_tool_and_why() -> None:
    runs = [
        RunState(ID, "ruff", "failed", "panicked\nat line 3"),
        RunState(ID, "jscpd", "timed_out", ""),
        RunState(ID, "zizmor", "skipped", "no workflows"),
        RunState(ID, "lizard", "ok", ""),
    ]
    assert present.not_green(runs) == "ruff failed: panicked; jscpd timed out"


def test_weeks_end_today_and_hold_seven_days() -> None:
    days = [Day(TODAY - timedelta(days=age), OpenCounts(), 1, 2) for age in range(90, -1, -1)]
    chart = present.weekly(days, today=TODAY)
    assert chart is not None
    assert len(chart.rows) == 13
    assert chart.rows[-1] == ("16 Nov 2026", "7", "14")
    assert chart.rows[0] == ("24 Aug 2026", "7", "14")
    assert present.weekly(days[-1:], today=TODAY) is None
    assert present.trend(days[-1:]) is None


@pytest.mark.parametrize(
    ("extent", "said"),
    [
        ((None, None, None, None), ""),
        ((4, None, None, None), ""),
        ((4, 4, None, None), ""),
        ((4, None, 3, None), "line 4, column 3"),
        ((4, 4, 3, 9), "line 4, columns 3 to 8"),
        ((4, 4, 3, 4), "line 4, column 3"),
        ((4, 9, 3, 2), "line 4, column 3 to line 9, column 2"),
        ((4, 9, None, None), "line 4 to line 9"),
    ],
)
def test_an_extent_is_said_in_words(extent: tuple[int | None, ...], said: str) -> None:
    assert present.extent(*extent) == said


def test_places_are_as_editors_read_them() -> None:
    assert present.place("a/b.py", 3) == "a/b.py:3"
    assert present.place("a/b.py", None) == "a/b.py"
    assert present.place(None, None) == "the project as a whole"


def test_a_heading_is_one_line_of_bounded_length() -> None:
    assert present.headline("one\ntwo") == "one"
    assert len(present.headline("x" * 1000)) == 160
    assert present.headline("x" * 160) == "x" * 160


def test_the_surest_mark_explains_the_identity() -> None:
    said = [
        present.tracked_by(Identity(by_tool, by_context, by_line), "ruff")
        for by_tool, by_context, by_line in (
            (True, True, True),
            (False, True, True),
            (False, False, True),
            (False, False, False),
        )
    ]
    assert len(set(said)) == 4
    assert "that ruff gives it" in said[0]
    assert "no fingerprint" in said[3]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
         "Firefox on Linux"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1",
         "Safari on iPhone"),
        ("Mozilla/5.0 (Windows NT 10.0) Chrome/140.0 Safari/537.36 Edg/140.0", "Edge on Windows"),
        ("curl/8.0", "curl/8.0"),
        ("", ""),
    ],
)  # fmt: skip
def test_a_browser_is_named_as_people_know_it(text: str, said: str) -> None:
    assert present.agent(text) == said


def test_the_default_branch_comes_first_and_needs_no_word_in_the_address() -> None:
    head = present.head(PROJECT, branch="b&c", branches=["b&c", "a", "main"], page="/issues")
    assert [(one.name, one.href, one.current) for one in head.branches] == [
        ("main", "/projects/demo/issues", False),
        ("a", "/projects/demo/issues?branch=a", False),
        ("b&c", "/projects/demo/issues?branch=b%26c", True),
    ]
    assert head.branch_query == "?branch=b%26c"
    assert present.head(PROJECT).branch_query == ""
