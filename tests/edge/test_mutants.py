"""What a table of samples would notice: how it meets each rule, which changes go unseen."""

from __future__ import annotations

from typing import Any, Final

import pytest

from insight_cloud.edge.mutants import coverage, mutants
from insight_cloud.edge.samples import Samples
from insight_cloud.edge.simulate import Simulator

FIREWALL: Final = "http_request_firewall_custom"
PATH: Final = "http.request.uri.path"


def _table(**expected: str) -> Samples:
    requests = [
        {"name": name, "url": f"/{name}", "expect": {"action": action}}
        for name, action in expected.items()
    ]
    return Samples.model_validate({"requests": requests})


def _simulator(*rules: tuple[str, str, str]) -> Simulator:
    found: list[dict[str, Any]] = [
        {"ref": f"ic:{name}", "action": action, "expression": expression}
        for name, action, expression in rules
    ]
    return Simulator({FIREWALL: found})


@pytest.mark.parametrize(
    ("expression", "status"),
    [
        (f'{PATH} eq "/bad"', "met"),
        (f'{PATH} eq "/nobody"', "never matched"),
        (f'{PATH} ne "/nobody"', "always true"),
        ("(true)", "met"),  # it says that it means everything
        ("false", "never matched"),
    ],
)
def test_each_rule_is_met_or_it_is_said_how_it_is_not(expression: str, status: str) -> None:
    samples = _table(bad="block", good="pass")
    (found,) = coverage(samples, _simulator(("rule", "block", expression)), "example.com")
    assert found.status == status


def test_a_rule_behind_another_that_ends_the_request_is_shadowed() -> None:
    simulator = _simulator(
        ("first", "block", f'starts_with({PATH}, "/ba")'), ("second", "block", f'{PATH} eq "/bad"')
    )
    found = coverage(_table(bad="block", good="pass"), simulator, "example.com")
    assert [(each.rule, each.status) for each in found] == [
        ("first", "met"),
        ("second", "shadowed"),
    ]
    assert found[1].detail == "by first"


def test_a_change_that_no_sample_notices_is_told() -> None:
    simulator = _simulator(("rule", "block", f'{PATH} in {{"/bad" "/worse"}}'))
    unseen = [
        m
        for m in mutants(_table(bad="block", ok="pass"), simulator, "example.com")
        if not m.noticed
    ]
    assert [m.change for m in unseen] == ['without "/worse" in {"/bad" "/worse"}']


def test_a_rule_for_everything_is_noticed_when_it_is_turned_round() -> None:
    samples, simulator = _table(bad="block"), _simulator(("all", "block", "true"))
    assert [(m.change, m.noticed) for m in mutants(samples, simulator, "example.com")] == [
        ("removed", True),
        ("managed_challenge instead of block", True),
        ("not true", True),
    ]
