"""What is taken from a log, what is refused, and what is passed over by name."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from insight_cloud.app.sarif import read
from insight_cloud.app.sarif.limits import Limits
from insight_cloud.app.sarif.model import Log
from insight_cloud.core.errors import Invalid, TooLarge
from tests.app.sarif import logs

RESULTS = {
    "own-bandit-requests-2.31.0": 9,
    "own-bandit-requests-2.32.4": 9,
    "own-complexipy-requests-2.32.4": 12,
    "own-hadolint-defectdojo": 17,
    "own-jscpd-requests-2.32.4": 19,
    "own-oxlint-express-5.1.0": 405,
    "own-ruff-flask-3.0.3": 136,
    "own-ruff-flask-3.1.0": 134,
    "own-semgrep-flask-3.1.0": 1,
    "own-zizmor-requests-2.31.0": 13,
    "pub-codeql-python": 72,
    "pub-flawfinder-invalid-result": 53,
    "pub-fortify-fpr": 3,
    "pub-gcc-double-free": 1,
    "pub-semgrep-owasp-benchmark": 1768,
    "pub-spotbugs-message-ids": 56,
    "pub-tutorial-regions": 18,
    "pub-tutorial-suppressions": 9,
    "pub-tutorial-uribaseids": 3,
}
REFUSED = {"bad-json-syntax", "bad-results-not-array", "bad-version-2.0.0"}
WITH_WARNINGS = {
    "bad-driver-name-null",
    "bad-index-out-of-range",
    "level-overrides",
    "pub-flawfinder-invalid-result",
}


def refusal(data: bytes, **how: Any) -> Invalid:
    with pytest.raises(Invalid) as caught:
        read.log(data, **how)
    return caught.value


def warnings(log: Log) -> list[tuple[str, str]]:
    return [(warned.pointer, warned.detail) for warned in log.warnings]


# -- the recorded logs


@pytest.mark.parametrize("name", RESULTS)
def test_every_result_of_a_recorded_log_is_taken(name: str) -> None:
    (run,) = logs.recorded(name).runs
    assert len(run.findings) == RESULTS[name]


@pytest.mark.parametrize("path", logs.ALL, ids=lambda path: path.stem)
def test_only_the_logs_with_faults_are_refused_or_warned_of(path: Path) -> None:
    if path.stem in REFUSED:
        refusal(path.read_bytes())
        return
    assert bool(read.log(path.read_bytes()).warnings) == (path.stem in WITH_WARNINGS)


@pytest.mark.parametrize("path", logs.ALL, ids=lambda path: path.stem)
def test_a_place_inside_is_relative_and_plain(path: Path) -> None:
    if path.stem in REFUSED:
        return
    for run in read.log(path.read_bytes()).runs:
        for finding in run.findings:
            for place in (finding.location, *finding.related, *finding.flow):
                if place is not None and not place.external:
                    assert not place.path.startswith(("/", "../", "file:"))
                    assert "\\" not in place.path


def test_a_syntax_error_is_named_by_line() -> None:
    error = refusal((logs.FOLDER / "edge/bad-json-syntax.sarif").read_bytes())
    assert "line 3" in str(error)
    assert error.problems[0][0] == ""


def test_another_version_is_refused_and_the_supported_one_named() -> None:
    error = refusal((logs.FOLDER / "edge/bad-version-2.0.0.sarif").read_bytes())
    assert "2.0.0" in str(error)
    assert "2.1.0" in str(error)
    assert error.problems == (("/version", "only 2.1.0 is supported"),)


def test_results_that_are_no_array_refuse_the_log() -> None:
    error = refusal((logs.FOLDER / "edge/bad-results-not-array.sarif").read_bytes())
    assert error.problems == (("/runs/0/results", "not an array"),)


def test_only_the_run_without_driver_name_is_left_out() -> None:
    log = logs.recorded("edge/bad-driver-name-null")
    assert [run.tool for run in log.runs] == [
        "CodeQL command-line toolchain",
        "CodeQL command-line toolchain",
        "ESLint",
        "unnamed",
    ]
    assert [warned.pointer for warned in log.warnings] == ["/runs/4/tool/driver/name"]


def test_a_log_whose_only_run_has_no_driver_name_is_refused() -> None:
    error = refusal(logs.made(tool={"driver": {"name": None}}))
    assert error.problems == (("/runs/0", "the run's driver has no name"),)


def test_no_runs_are_no_results() -> None:
    assert logs.recorded("edge/no-runs") == Log(runs=())


def test_a_tool_that_crashed_is_not_clean() -> None:
    (run,) = logs.recorded("edge/tutorial-notifications").runs
    assert run.state == "failed"
    assert run.findings == ()
    assert "'TUT1201' threw a 'NullReferenceException' exception" in run.detail
    assert "'UNK1001' cannot be disabled" in run.detail


def test_a_failed_run_keeps_its_findings() -> None:
    (run,) = logs.recorded("pub-spotbugs-message-ids").runs
    assert run.state == "failed"
    assert run.detail.startswith("Exit status 3.")
    assert run.findings[0].message == (
        "Hard coded reference to an absolute pathname in Boot.main(String[])."
    )


def test_indexes_out_of_range_cost_nothing_but_themselves() -> None:
    (run,) = logs.recorded("edge/bad-index-out-of-range").runs
    assert [finding.rule for finding in run.findings] == ["TST0004", "EXTR0002", "EXTR1001"]


def test_a_result_without_message_is_left_out_and_named() -> None:
    log = logs.recorded("pub-flawfinder-invalid-result")
    assert warnings(log) == [
        ("/runs/0/results/52", "the result has no message; it is left out"),
    ]


def test_suppressions_count_when_accepted_or_silent() -> None:
    (run,) = logs.recorded("pub-tutorial-suppressions").runs
    suppressed = [finding.suppressed for finding in run.findings]
    assert suppressed == [False, True, True, False, True, False, True, True, False]


def test_a_byte_order_mark_is_no_fault() -> None:
    (run,) = logs.recorded("edge/bom-suppressions").runs
    assert [finding.suppressed for finding in run.findings] == [True, True, True, False]


def test_a_region_by_offset_has_no_line() -> None:
    (run,) = logs.recorded("pub-tutorial-regions").runs
    lines = [finding.location.line for finding in run.findings if finding.location is not None]
    assert lines.count(None) == 8
    assert len(lines) == 18


def test_levels_come_from_the_result_the_override_the_rule_in_this_order() -> None:
    (run,) = logs.recorded("edge/level-overrides").runs
    assert [finding.severity for finding in run.findings] == ["info", "low", "medium", "high"]


def test_results_without_location_concern_the_project() -> None:
    (run,) = logs.recorded("edge/dockle-no-locations").runs
    assert {finding.location for finding in run.findings} == {None}


def test_a_help_address_that_is_none_is_not_linked() -> None:
    (run,) = logs.recorded("edge/bad-uri").runs
    assert run.rules[0].help_uri == ""
    assert run.findings[0].location is not None
    assert run.findings[0].location.path == "not a valid URI"


def test_a_rule_reference_names_the_rule_and_the_flow_cache_the_steps() -> None:
    (run,) = logs.recorded("pub-fortify-fpr").runs
    assert run.findings[0].rule == "D0ACE9F8-3C8F-42D4-BDB1-2FC9ECB0CDFB"
    assert len(run.findings[0].flow) == 2
    assert run.category == "CareerGuideAdminTool"


def test_links_in_messages_become_their_text() -> None:
    (run,) = logs.recorded("own-jscpd-requests-2.32.4").runs
    assert run.findings[0].message.endswith("duplicated at requests/adapters.py:613")
    assert run.findings[0].related[0].line == 613


def test_ruff_is_not_all_high() -> None:
    (run,) = logs.recorded("own-ruff-flask-3.1.0").runs
    assert Counter(finding.severity for finding in run.findings) == {
        "high": 6,
        "medium": 26,
        "low": 95,
        "info": 7,
    }


# -- faults, one at a time


def test_a_bad_result_costs_only_itself() -> None:
    log = read.log(logs.made(logs.result(), {"message": 7}, 42, logs.result()))
    assert len(log.runs[0].findings) == 2
    assert [warned.pointer for warned in log.warnings] == [
        "/runs/0/results/1/message",
        "/runs/0/results/2",
    ]


def test_a_bad_ornament_costs_only_the_ornament() -> None:
    log = read.log(logs.made(logs.result("a.py", fingerprints=[1], relatedLocations="x")))
    assert len(log.runs[0].findings) == 1
    assert {warned.pointer for warned in log.warnings} == {
        "/runs/0/results/0/fingerprints",
        "/runs/0/results/0/relatedLocations",
    }


def test_nested_fingerprints_are_left_out() -> None:
    log = read.log(logs.made(logs.result(fingerprints={"a": {"b": "c"}, "d": "e"})))
    assert log.runs[0].findings[0].fingerprints == {"d": "e"}
    assert len(log.warnings) == 1


def test_nul_characters_and_halves_of_pairs_are_taken_out_of_every_text() -> None:
    data = logs.made(logs.result(message={"text": "a#b&c\\u0000"}))
    data = data.replace(b"#", rb"\u0000").replace(b"&", rb"\ud800").replace(b"wrong", b"x")
    log = read.log(data)
    assert log.runs[0].findings[0].message == "ab\ufffdc\\u0000"
    assert [detail for _, detail in warnings(log)] == [
        "1 NUL characters were taken out of the log's texts",
        "1 halves of surrogate pairs were replaced by U+FFFD",
    ]


def test_whole_surrogate_pairs_are_kept() -> None:
    data = logs.made(logs.result(message={"text": "#"})).replace(b"#", rb"\ud83d\ude00")
    assert logs.only(data).message == "😀"


@pytest.mark.parametrize(
    ("line", "read_as"),
    [(12, 12), (12.0, 12), (12.5, None), (0, None), (-3, None), (10**30, None), (2**31, None)],
)
def test_a_line_is_a_positive_whole_number(line: float, read_as: int | None) -> None:
    result = logs.result("a.py")
    result["locations"][0]["physicalLocation"]["region"] = {"startLine": line}
    assert logs.place(logs.made(result)).line == read_as


def test_what_is_nested_too_deeply_is_refused() -> None:
    deep = b'{"version":"2.1.0","runs":[],"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert "nested too deeply" in str(refusal(deep))


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b"7", b"\xff\xfe{\0}\0", b'{"a":"\xff"}']
)
def test_what_is_no_log_is_refused(data: bytes) -> None:
    refusal(data)


@pytest.mark.parametrize("runs", [None, 7, {}, "x"])
def test_runs_that_are_no_array_refuse_the_log(runs: object) -> None:
    error = refusal(json.dumps({"version": "2.1.0", "runs": runs}).encode())
    assert error.problems == (("/runs", "not an array"),)


def test_a_result_of_another_kind_is_no_issue() -> None:
    log = read.log(logs.made(*[logs.result(kind="pass")] * 3, logs.result(baselineState="absent")))
    assert log.runs[0].findings == ()
    assert len(log.warnings) == 2
    assert "3 results" in log.warnings[0].detail


# -- how a run ended


@pytest.mark.parametrize(
    ("invocation", "state"),
    [
        ({"executionSuccessful": True}, "ok"),
        ({"executionSuccessful": False}, "failed"),
        ({"exitCode": 2}, "failed"),
        ({"executionSuccessful": True, "exitCode": 1}, "ok"),
        ({"executionSuccessful": False, "properties": {"insightState": "timed_out"}}, "timed_out"),
        ({"executionSuccessful": True, "properties": {"insightState": "skipped"}}, "skipped"),
        ({"executionSuccessful": True, "properties": {"insightState": ["x"]}}, "ok"),
    ],
)
def test_the_invocation_says_how_the_run_ended(invocation: dict[str, Any], state: str) -> None:
    (run,) = read.log(logs.made(invocations=[invocation])).runs
    assert run.state == state
    assert bool(run.detail) == (state == "failed")


def test_a_run_without_results_array_is_clean_only_if_the_tool_says_so() -> None:
    tool = {"driver": {"name": "t"}}
    succeeded = [{"executionSuccessful": True}]
    (silent,) = read.log(logs.raw({"tool": tool})).runs
    (clean,) = read.log(logs.raw({"tool": tool, "invocations": succeeded})).runs
    assert (silent.state, clean.state) == ("skipped", "ok")


def test_the_category_is_the_automation_id_without_its_last_part() -> None:
    def category(name: str) -> str:
        return read.log(logs.made(automationDetails={"id": name})).runs[0].category

    assert category("nightly/linux/2026-11-22") == "nightly/linux"
    assert category("nightly/") == "nightly"
    assert category("run-7") == ""


# -- limits


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        (Limits(runs=0), "1 runs; the limit is 0"),
        (Limits(results_per_run=1), "2 results; the limit is 1"),
        (Limits(rules_per_run=1), "2 rules; the limit is 1"),
        (Limits(log_bytes=10), "the limit is 10"),
    ],
)
def test_what_is_beyond_a_limit_is_refused_by_name(limits: Limits, named: str) -> None:
    tool = {"driver": {"name": "t", "rules": [{"id": "a"}, {"id": "b"}]}}
    with pytest.raises(TooLarge, match=named):
        read.log(logs.made(logs.result(), logs.result(), tool=tool), limits=limits)


def test_long_texts_are_cut_and_named() -> None:
    limits = Limits(message_characters=5, code_characters=3)
    log = read.log(logs.made(logs.result(ruleId="R1234", message={"text": "x" * 9})), limits=limits)
    finding = log.runs[0].findings[0]
    assert (finding.message, finding.rule) == ("xxxxx", "R12")
    assert len(log.warnings) == 2


def test_a_flow_keeps_its_first_steps() -> None:
    steps = [{"location": logs.result("a.py")["locations"][0]}] * 150
    flows = [{"threadFlows": [{"locations": steps}]}]
    log = read.log(logs.made(logs.result("a.py", codeFlows=flows)))
    assert len(log.runs[0].findings[0].flow) == 100
    assert log.warnings[0].detail == "100 of 150 steps are kept"


def test_a_path_too_long_for_an_index_is_left_out() -> None:
    log = read.log(logs.made(logs.result("d/" * 1500 + "a.py")))
    assert log.runs[0].findings[0].location is None
    assert "longer than 2,000 bytes" in log.warnings[0].detail


def test_warnings_are_bounded_and_the_rest_is_counted() -> None:
    log = read.log(logs.made(*[{}] * 50), limits=Limits(warnings=10))
    assert len(log.warnings) == 11
    assert log.warnings[-1].detail == "40 more warnings are not listed"


# -- fuzz


SMALL = [path.read_text(encoding="utf-8-sig") for path in logs.ALL if path.stat().st_size < 40_000]
PARSED = [json.loads(text) for text in SMALL if "2.0.0" not in text]
ODD: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(
        ["file:///", "../../x", "%2e%2e/%00", "C:\\x", "\0", "\ud800", "{0}", "[a](0)"]
    ),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)


def _spots(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places of everything within `value`."""
    children = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [path, *(spot for key, child in children for spot in _spots(child, (*path, key)))]


SPOTS = [[spot for spot in _spots(parsed) if spot] for parsed in PARSED]


def _replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _replaced(copy[path[0]], path[1:], new)
    return copy


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_mutated_log_is_read_or_refused_never_more(data: st.DataObject) -> None:
    which = data.draw(st.integers(0, len(PARSED) - 1))
    spots = data.draw(st.lists(st.sampled_from(SPOTS[which]), min_size=1, max_size=4))
    mutated = PARSED[which]
    for spot in spots:
        try:
            mutated = _replaced(mutated, spot, data.draw(ODD))
        except (KeyError, IndexError, TypeError):
            continue  # an earlier mutation took the place away
    try:
        log = read.log(json.dumps(mutated).encode())
    except Invalid:
        return
    _check_storable(log)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(SMALL), st.integers(0, 40_000), st.binary(max_size=4))
def test_a_log_with_damaged_bytes_is_read_or_refused(text: str, at: int, noise: bytes) -> None:
    data = text.encode()
    at %= len(data)
    try:
        log = read.log(data[:at] + noise + data[at + len(noise) :])
    except Invalid:
        return
    _check_storable(log)


def _check_storable(log: Log) -> None:
    """PostgreSQL takes every text: no NUL, no half of a surrogate pair."""
    for run in log.runs:
        for finding in run.findings:
            texts = [finding.rule, finding.message, *finding.fingerprints, run.tool, run.detail]
            texts += [place.path for place in (finding.location, *finding.related) if place]
            for text in texts:
                assert "\0" not in text
                text.encode()
