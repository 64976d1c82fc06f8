"""What we write reads back the same, keeps to the schema, and never differs by a byte."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_cloud.app.sarif import read, schema, write
from insight_cloud.app.sarif.model import (
    CATEGORIES,
    SEVERITIES,
    Finding,
    Location,
    Rule,
    Run,
    RunState,
)
from insight_cloud.app.sarif.results import OUR_CONTEXT, OUR_LINE
from insight_cloud.core.errors import Invalid
from tests.app.sarif import logs

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
WORDS = TEXTS.map(str.strip).filter(bool)
MESSAGES = st.one_of(
    WORDS,
    st.sampled_from(["[a](0)", r"\[a](0)", r"x [a\](1)](2)", "{0} {{}}", "[[a](0)](1)", "](3)"]),
)
NAMES = st.text("ab .%:#?ä\"'[]~@+", min_size=1, max_size=8).filter(lambda n: n not in {".", ".."})
INSIDE = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
OUTSIDE = st.one_of(
    # As a URI, a folder `a:` at the root is the drive `a:` of another system.
    INSIDE.map(lambda path: f"/{path}").filter(lambda path: path[2:3] != ":"),
    INSIDE.map(lambda path: f"C:/{path}"),
    INSIDE.map(lambda path: f"../{path}"),
    st.just("https://example.org/a%20b.c"),
)
LINES = st.integers(1, 2**31 - 1)


@st.composite
def places(draw: st.DrawFn) -> Location:
    external = draw(st.booleans())
    line = draw(st.none() | LINES)
    optional = st.none() if line is None else st.none() | LINES
    return Location(
        path=draw(OUTSIDE if external else INSIDE),
        line=line,
        end_line=draw(optional),
        column=draw(optional),
        end_column=draw(optional),
        message=draw(st.just("") | MESSAGES),
        external=external,
    )


FINDINGS = st.builds(
    Finding,
    rule=WORDS,
    message=MESSAGES,
    severity=st.sampled_from(SEVERITIES),
    category=st.sampled_from(CATEGORIES),
    location=st.none() | places(),
    related=st.lists(places(), max_size=2, unique=True).map(tuple),
    flow=st.lists(places(), max_size=2).map(tuple),
    fingerprints=st.dictionaries(
        WORDS.filter(lambda name: name not in {OUR_CONTEXT, OUR_LINE}), WORDS, max_size=2
    ),
    context_hash=st.sampled_from(["", "0123456789abcdef"]),
    line_hash=st.sampled_from(["", "fedcba9876543210"]),
    suppressed=st.booleans(),
)


@st.composite
def runs(draw: st.DrawFn) -> Run:
    """Runs in the form that the reader gives: rules in the order of their first finding."""
    findings = tuple(draw(st.lists(FINDINGS, max_size=4)))
    codes = dict.fromkeys(finding.rule for finding in findings)
    addresses = st.sampled_from(["", "https://example.org/r"])
    rules = [
        Rule(
            code=code,
            name=draw(TEXTS),
            summary=draw(TEXTS),
            help=draw(TEXTS),
            help_uri=draw(addresses),
        )
        for code in codes
    ]
    state: RunState = draw(st.sampled_from(get_args(RunState)))
    return Run(
        tool=draw(WORDS),
        version=draw(TEXTS),
        category=draw(st.sampled_from(["", "nightly", "/language:python", "a/b"])),
        state=state,
        detail=draw(TEXTS) if state != "ok" else "",
        rules=tuple(rules),
        findings=findings,
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(runs(), min_size=1, max_size=3))
def test_what_is_written_reads_back_the_same(written: list[Run]) -> None:
    log = read.log(write.log(written))
    assert logs.comparable(log.runs) == tuple(written)
    assert log.warnings == ()


@settings(max_examples=60, deadline=None)
@given(st.lists(runs(), max_size=2))
def test_what_is_written_keeps_to_the_schema(written: list[Run]) -> None:
    assert schema.faults(write.log(written)) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(runs(), max_size=2), st.floats(0, 1e6))
def test_the_same_findings_give_the_same_bytes(written: list[Run], seconds: float) -> None:
    slower = [msgspec.structs.replace(run, seconds=seconds) for run in written]
    assert write.log(written) == write.log(slower)


@pytest.mark.parametrize("path", logs.ALL, ids=lambda path: path.stem)
def test_a_recorded_log_survives_being_rewritten(path: Path) -> None:
    try:
        log = read.log(path.read_bytes())
    except Invalid:
        return
    rewritten = write.log(log.runs)
    again = read.log(rewritten)
    assert logs.comparable(again.runs) == logs.comparable(log.runs)
    assert schema.faults(rewritten) == []
    assert write.log(again.runs) == rewritten


def test_equal_related_places_are_written_once() -> None:
    places = (Location(path="a.py", line=1), Location(path="b.py"), Location(path="a.py", line=1))
    finding = Finding(rule="A", message="m", severity="low", category="style", related=places)
    written = write.log([Run(tool="t", findings=(finding,))])
    assert schema.faults(written) == []
    assert logs.only(written).related == places[:2]


def test_github_learns_the_severity_of_security_rules_only() -> None:
    def finding(rule: str, category: str, severity: str) -> Finding:
        return msgspec.convert(
            {"rule": rule, "message": "m", "severity": severity, "category": category}, Finding
        )

    found = (
        finding("A", "security", "low"),
        finding("A", "security", "critical"),
        finding("B", "style", "high"),
    )
    written = msgspec.json.decode(write.log([Run(tool="t", findings=found)]))
    rules = written["runs"][0]["tool"]["driver"]["rules"]
    assert rules[0]["properties"] == {"tags": ["security"], "security-severity": "9.5"}
    assert rules[1]["properties"] == {"tags": ["style"]}


def test_a_run_that_is_not_well_says_so_to_other_readers() -> None:
    run = Run(tool="t", state="timed_out", detail="after 60 s")
    (invocation,) = msgspec.json.decode(write.log([run]))["runs"][0]["invocations"]
    assert invocation["executionSuccessful"] is False
    assert invocation["toolExecutionNotifications"] == [
        {"level": "error", "message": {"text": "after 60 s"}}
    ]


def test_every_result_has_a_place_because_github_wants_one() -> None:
    finding = Finding(rule="A", message="m", severity="low", category="style")
    written = msgspec.json.decode(write.log([Run(tool="t", findings=(finding,))]))
    assert len(written["runs"][0]["results"][0]["locations"]) == 1
