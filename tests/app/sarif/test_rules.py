"""Every way in which a result may name its rule."""

from __future__ import annotations

from typing import Any

import pytest

from insight_cloud.app.sarif import read
from tests.app.sarif import logs

TOOL = {
    "driver": {
        "name": "t",
        "rules": [
            {"id": "A", "guid": "g-a", "name": "first"},
            {"id": "B", "name": "second", "defaultConfiguration": {"level": "error"}},
            {"id": 7},
            {"id": "D/1", "name": "refined"},
        ],
    },
    "extensions": [
        {"name": "ext", "guid": "g-ext", "rules": [{"id": "E", "name": "extended"}]},
    ],
}


@pytest.mark.parametrize(
    ("names", "code", "rule"),
    [
        ({"ruleId": "A"}, "A", "first"),
        ({"ruleIndex": 1}, "B", "second"),
        ({"ruleId": "B", "ruleIndex": 0}, "B", "second"),
        ({"ruleId": "A/x/y"}, "A/x/y", "first"),
        ({"ruleId": "A/x", "ruleIndex": 0}, "A/x", "first"),
        ({"ruleId": "D/1/z"}, "D/1/z", "refined"),
        ({"ruleId": "AB"}, "AB", ""),
        ({"ruleId": "A", "ruleIndex": 99}, "A", "first"),
        ({"ruleId": "A", "ruleIndex": -1}, "A", "first"),
        ({"ruleIndex": 2}, "unnamed", ""),
        ({"rule": {"id": "B"}}, "B", "second"),
        ({"rule": {"index": 0}}, "A", "first"),
        ({"rule": {"guid": "g-a"}}, "A", "first"),
        ({"rule": {"index": 0, "toolComponent": {"index": 0}}}, "E", "extended"),
        ({"rule": {"index": 0, "toolComponent": {"name": "ext"}}}, "E", "extended"),
        ({"rule": {"index": 0, "toolComponent": {"guid": "g-ext"}}}, "E", "extended"),
        ({"rule": {"id": "E", "toolComponent": {"index": 5}}}, "E", "extended"),
        ({"rule": {"toolComponent": {"index": 0}}, "ruleIndex": 0}, "E", "extended"),
        ({"ruleId": "E"}, "E", "extended"),
        ({}, "unnamed", ""),
    ],
)
def test_a_rule_is_found_however_it_is_named(names: dict[str, Any], code: str, rule: str) -> None:
    data = logs.made({"message": {"text": "m"}, **names}, tool=TOOL)
    (run,) = read.log(data).runs
    assert run.findings[0].rule == code
    assert [(known.code, known.name) for known in run.rules] == [(code, rule)]


def test_a_rule_that_cannot_be_read_keeps_its_place() -> None:
    log = read.log(logs.made(logs.result(ruleId="D/1", ruleIndex=3), tool=TOOL))
    assert log.runs[0].rules[0].name == "refined"
    assert log.warnings[0].pointer == "/runs/0/tool/driver/rules/2/id"


def test_an_override_reaches_the_refined_rules_too() -> None:
    override = {"descriptor": {"index": 1}, "configuration": {"level": "note"}}
    invocation = {"executionSuccessful": True, "ruleConfigurationOverrides": [override]}
    data = logs.made(logs.result(ruleId="B/x"), tool=TOOL, invocations=[invocation])
    assert logs.only(data).severity == "low"
