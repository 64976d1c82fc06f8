"""How bad a finding is: each source of the answer, and which one wins."""

from __future__ import annotations

from typing import Any

import pytest

from insight_cloud.app.sarif import catalogue, severity


@pytest.mark.parametrize(
    ("tool", "code", "expected"),
    [
        ("ruff", "F821", ("high", "runtime")),
        ("ruff", "E902", ("high", "build")),
        ("ruff", "invalid-syntax", ("high", "build")),
        ("ruff", "S602", ("high", "security")),
        ("ruff", "S101", ("info", "security")),
        ("ruff", "S113", ("medium", "network")),
        ("ruff", "SIM102", ("low", "style")),
        ("ruff", "PERF401", ("low", "performance")),
        ("ruff", "PLR0913", ("medium", "complexity")),
        ("ruff", "D100", ("info", "style")),
        ("ruff", "F401", ("low", "imports")),
        ("jscpd", "jscpd/duplicate-code", ("low", "duplication")),
        ("lizard", "anything", ("medium", "complexity")),
        ("imports", "cycle", ("medium", "imports")),
        ("secrets", "token", ("critical", "security")),
    ],
)
def test_the_catalogue_wins_over_the_level(tool: str, code: str, expected: tuple[str, str]) -> None:
    assert severity.judge(tool, code, "error", None, None) == expected


@pytest.mark.parametrize(
    ("score", "expected"),
    [("9.8", "critical"), (9, "critical"), ("7.0", "high"), (4, "medium"), ("0.1", "low")],
)
def test_security_severity_is_drawn_as_github_draws_it(score: Any, expected: str) -> None:
    properties = {"security-severity": score}
    assert severity.judge("x", "r", "note", properties, None) == (expected, "security")


@pytest.mark.parametrize("score", ["none", None, [], -1, 11, "nan", "inf", 10**400])
def test_a_security_severity_that_is_none_says_nothing(score: Any) -> None:
    properties = {"security-severity": score}
    assert severity.judge("x", "r", "note", properties, None) == ("low", "runtime")


def test_a_tools_own_word_wins_over_the_level() -> None:
    assert severity.judge("Bandit", "B1", "error", None, {"issue_severity": "LOW"})[0] == "low"
    assert severity.judge("zizmor", "z", "note", None, {"zizmor/severity": "High"})[0] == "high"


@pytest.mark.parametrize(
    ("level", "expected"),
    [("error", "high"), ("warning", "medium"), ("note", "low"), ("none", "info")],
)
def test_the_level_is_the_last_resort(level: str, expected: str) -> None:
    assert severity.judge("x", "r", level, None, None) == (expected, "runtime")


def test_our_own_properties_win_over_everything() -> None:
    ours = {severity.OUR_SEVERITY: "critical", severity.OUR_CATEGORY: "build"}
    assert severity.judge("ruff", "D100", "note", None, ours) == ("critical", "build")
    wrong = {severity.OUR_SEVERITY: ["critical"], severity.OUR_CATEGORY: 7}
    assert severity.judge("ruff", "D100", "note", None, wrong) == ("info", "style")


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"tags": ["maintainability", "security"]}, "security"),
        ({"tags": ["external/cwe/cwe-79"]}, "security"),
        ({"tags": ["PERFORMANCE"]}, "performance"),
        ({"category": "correctness"}, "runtime"),
        ({"tags": "style"}, "style"),
        ({"tags": [7, None]}, "runtime"),
    ],
)
def test_tags_name_the_category_of_rules_that_we_do_not_know(
    properties: dict[str, Any], expected: str
) -> None:
    assert severity.judge("x", "r", "note", properties, None)[1] == expected


def test_a_tool_is_found_by_the_first_word_of_its_name() -> None:
    assert catalogue.find("Hadolint", "DL3008") == catalogue.find("hadolint 2", "DL3008")
    assert catalogue.find("somebody else's", "X") is None


def test_every_line_of_the_catalogue_can_be_read() -> None:
    assert {"ruff", "oxlint", "eslint", "bandit", "zizmor", "hadolint"} <= catalogue.tools()
