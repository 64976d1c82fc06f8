"""Issues out: every format, every row once, nothing that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.app.issues import export
from insight_cloud.app.issues.models import Filter
from insight_cloud.app.sarif import codeclimate, read, schema
from insight_cloud.app.sarif.model import CATEGORIES, SEVERITIES, Location, Rule
from tests.app.analyses.conftest import Site, finding, run
from tests.app.analyses.test_routes import Api, api

__all__ = ["api"]

EVIL = '=HYPERLINK("http://evil.example","x")'


async def exported(site: Site, form: export.Format, **wanted: Any) -> bytes:
    parts = export.stream(site.context, site.project, Filter(**wanted), form)
    return b"".join([part async for part in parts])


async def some(site: Site) -> None:
    flow = (Location(path="b.py", line=2, message="here"),)
    await site.analyse(
        run(
            finding("A", "src/a b%.py", 3, message=EVIL, severity="high", flow=flow, related=flow),
            finding("B", None, message="about all\nof it", severity="low", category="style"),
            finding("C", suppressed=True),
            rules=(Rule(code="A", name="a", summary="about A", help="**help**"),),
        ),
        run(finding("D", "ä.js", 9, severity="critical", category="security"), tool="zizmor"),
        commit="1",
    )


# -- what is in it ---------------------------------------------------------------------------


async def test_sarif_is_what_our_reader_and_the_standard_take(site: Site) -> None:
    await some(site)
    data = await exported(site, "sarif", suppressed=True)
    assert schema.faults(data) == []
    found = read.log(data)
    assert found.warnings == ()
    assert [run.tool for run in found.runs] == ["ruff", "zizmor"]
    ruff = {one.rule: one for one in found.runs[0].findings}
    assert ruff.keys() == {"A", "B", "C"}
    assert (ruff["A"].message, ruff["A"].severity, ruff["B"].location) == (EVIL, "high", None)
    assert ruff["A"].location == Location(path="src/a b%.py", line=3)
    assert ruff["A"].flow[0].message == "here"
    assert [ruff[name].suppressed for name in "ABC"] == [False, False, True]
    assert found.runs[0].rules[0].help == "**help**"


async def test_an_export_comes_back_as_the_same_issues(site: Site) -> None:
    await some(site)
    for form in ("sarif", "codeclimate"):
        data = await exported(site, form, suppressed=True)
        done = await site.upload(data, branch=form, commit="1")
        assert done.analysis.warnings_total == 0
        assert done.analysis.new + done.analysis.suppressed == 4
        listed = {one.rule: one for one in await site.issues(branch=form, suppressed=True)}
        before = {one.rule: one for one in await site.issues(suppressed=True)}
        for rule, one in before.items():
            assert (listed[rule].tool, listed[rule].severity) == (one.tool, one.severity)
            assert listed[rule].message == one.message


async def test_csv_has_a_row_an_issue_and_no_formula(site: Site) -> None:
    await some(site)
    rows = list(csv.DictReader(io.StringIO((await exported(site, "csv")).decode())))
    assert [row["rule"] for row in rows] == ["D", "A", "B"]
    assert rows[1]["message"] == "'" + EVIL
    assert (rows[1]["line"], rows[2]["path"], rows[0]["suppressed"]) == ("3", "", "false")
    assert rows[2]["message"] == "about all\nof it"
    assert rows[0]["url"].endswith(f"/projects/demo/issues/{rows[0]['id']}")


@given(st.text(max_size=30))
def test_no_text_becomes_a_formula(text: str) -> None:
    cell = export.safe_cell(text)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert cell.removeprefix("'") == text or cell == text
    assert export.safe_cell(-5) == "-5"


async def test_json_lines_are_objects(site: Site) -> None:
    await some(site)
    lines = (await exported(site, "jsonl", severity=("critical",))).decode().splitlines()
    (one,) = [json.loads(line) for line in lines]
    assert (one["rule"], one["path"], one["category"]) == ("D", "ä.js", "security")


@pytest.mark.parametrize("form", list(export.FORMATS))
async def test_nothing_is_still_a_whole_file(site: Site, form: export.Format) -> None:
    for branch in (None, "never-analysed"):
        data = await exported(site, form, branch=branch)
        if form in {"sarif", "codeclimate"}:
            assert json.loads(data) in ([], {"$schema": _SCHEMA, "version": "2.1.0", "runs": []})


_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)


async def test_a_long_list_is_read_in_parts_without_a_gap(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_PART", 7)
    found = [finding(f"R{n}", line=n, severity=SEVERITIES[n % 5]) for n in range(28)]
    await site.analyse(run(*found), commit="1")
    for form in ("csv", "jsonl"):
        data = (await exported(site, form)).decode()
        assert set(re.findall(r"\bR\d+\b", data)) >= {f"R{n}" for n in range(28)}
    assert len(json.loads(await exported(site, "codeclimate"))) == 28
    assert len(read.log(await exported(site, "sarif")).runs[0].findings) == 28


# -- Code Climate in -------------------------------------------------------------------------


def test_a_report_of_gitlab_is_read() -> None:
    report = [
        {
            "description": "'x' is unused",
            "check_name": "no-unused",
            "fingerprint": "7815696ecbf1c96e6894b779456d330e",
            "severity": "minor",
            "location": {"path": "lib/index.js", "lines": {"begin": 42}},
        },
        {
            "type": "issue",
            "engine_name": "eslint",
            "check_name": "eval",
            "description": "eval",
            "categories": ["Bug Risk", "Security"],
            "severity": "blocker",
            "location": {
                "path": "100%.js",
                "positions": {"begin": {"line": 1, "column": 2}, "end": {"line": 3, "column": 4}},
            },
        },
        {"type": "measurement", "name": "loc", "value": 3},
        {"check_name": 7},
        "text",
        {"description": "no place"},
    ]
    found = codeclimate.read(b"\xef\xbb\xbf " + json.dumps(report).encode())
    runs = {one.tool: one for one in found.runs}
    first, last = runs["codeclimate"].findings
    assert (first.rule, first.severity) == ("no-unused", "low")
    assert first.location == Location(path="lib/index.js", line=42)
    assert first.fingerprints == {"codeclimate/v1": "7815696ecbf1c96e6894b779456d330e"}
    assert (last.rule, last.location, last.message) == ("issue", None, "no place")
    (second,) = runs["eslint"].findings
    assert (second.severity, second.category) == ("critical", "security")
    assert second.location == Location(path="100%.js", line=1, column=2, end_line=3, end_column=4)
    assert [one.pointer for one in found.warnings] == ["/3", "/4"]


def test_an_empty_report_is_a_tool_that_found_nothing() -> None:
    (one,) = codeclimate.read(b"[]").runs
    assert (one.tool, one.state, one.findings) == ("codeclimate", "ok", ())


@given(st.sampled_from(SEVERITIES), st.sampled_from(CATEGORIES), st.text(min_size=1, max_size=20))
def test_what_is_written_is_read_as_the_same(severity: Any, category: Any, message: str) -> None:
    one = codeclimate.entry(
        tool="ruff",
        rule="A",
        message=message,
        severity=severity,
        category=category,
        path="a/b.py",
        line=3,
        end_line=None,
        fingerprint="f",
    )
    (found,) = codeclimate.read(json.dumps([one]).encode()).runs[0].findings
    assert (found.severity, found.rule, found.location) == (
        severity,
        "A",
        Location(path="a/b.py", line=3, end_line=3),
    )


# -- over HTTP -------------------------------------------------------------------------------


@pytest.mark.parametrize("extension", ["sarif", "csv", "jsonl", "codeclimate.json"])
async def test_an_export_is_a_file_with_a_name_and_a_tag(
    api: Api, site: Site, extension: str
) -> None:
    await some(site)
    headers = await api.token("read")
    path = f"/api/v1/projects/demo/issues.{extension}"
    answer = await api.client.get(path, headers=headers, params={"severity": "critical"})
    assert answer.status_code == 200
    assert f'filename="demo-issues.{extension}"' in answer.headers["content-disposition"]
    assert "about all" not in answer.text
    tag = {"if-none-match": answer.headers["etag"]}
    query = {"severity": "critical"}
    again = await api.client.get(path, headers=headers | tag, params=query)
    assert again.status_code == 304
    assert (await api.client.get(path, headers=headers | tag)).status_code == 200
    await site.analyse(run(finding("Z", severity="critical")), commit="2")
    again = await api.client.get(path, headers=headers | tag, params=query)
    assert again.status_code == 200
    assert (await api.client.get(path[:-4] + "exe", headers=headers)).status_code in {404, 422}
