"""The same file by a dozen names, and never one outside of the root taken for one inside."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.app.sarif.paths import common_root
from tests.app.sarif import logs


@pytest.mark.parametrize(
    "uri",
    [
        "src/a.py",
        "./src/a.py",
        "src//b/../a.py",
        "src\\a.py",
        "src/%61.py",
        "file:///home/ci/p/src/a.py",
        "file:////home/ci/p/src/a.py",
        "file:/home/ci/p/src/a.py",
        "file://localhost/home/ci/p/src/a.py",
        "/home/ci/p/src/a.py",
        "/home/ci/p/x/../src/a.py",
        "FILE:///home/ci/p/src/a.py",
    ],
)
@pytest.mark.parametrize("root", ["/home/ci/p", "/home/ci/p/", "file:///home/ci/p/"])
def test_every_way_to_name_a_file_below_the_root(uri: str, root: str) -> None:
    place = logs.place(logs.made(logs.result(uri)), root=root)
    assert (place.path, place.external) == ("src/a.py", False)


@pytest.mark.parametrize("uri", ["file:///C:/p/src/a.py", "C:\\p\\src\\a.py", "c:/P/src/a.py"])
def test_windows_drives_do_not_care_about_case(uri: str) -> None:
    place = logs.place(logs.made(logs.result(uri)), root="C:\\p")
    assert (place.path, place.external) == ("src/a.py", False)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("/usr/include/stdio.h", "/usr/include/stdio.h"),
        ("../other/a.py", "../other/a.py"),
        ("a/../../b.py", "a/../../b.py"),
        ("%2e%2e/b.py", "../b.py"),
        ("..%5cb.py", "../b.py"),
        ("/home/ci/p/../q/b.py", "/home/ci/p/../q/b.py"),
        ("/home/ci/project-2/b.py", "/home/ci/project-2/b.py"),
        ("C:\\x\\b.py", "C:/x/b.py"),
        ("https://example.org/a%20b.py", "https://example.org/a%20b.py"),
        ("jar:file:///x.jar!/A.class", "jar:file:///x.jar!/A.class"),
    ],
)
def test_what_is_outside_of_the_root_keeps_its_name(uri: str, shown: str) -> None:
    place = logs.place(logs.made(logs.result(uri)), root="/home/ci/p")
    assert (place.path, place.external) == (shown, True)


def test_percent_signs_are_decoded_once() -> None:
    assert logs.place(logs.made(logs.result("100%2525.txt"))).path == "100%25.txt"


@given(st.text(st.sampled_from("abc./\\%2e:~ "), max_size=20))
def test_no_name_leads_outside_unmarked(uri: str) -> None:
    place = logs.place(logs.made(logs.result(uri)), root="/home/ci/p")
    if not place.external:
        assert not place.path.startswith("/")
        assert ".." not in place.path.split("/")


def based(uri: str, base: str, **bases: Any) -> str:
    result = logs.result()
    result["locations"] = [
        {"physicalLocation": {"artifactLocation": {"uri": uri, "uriBaseId": base}}}
    ]
    return logs.place(logs.made(result, originalUriBaseIds=bases)).path


def test_bases_are_followed_through_their_chain() -> None:
    bases = {"ROOT": {"uri": "file:///p/"}, "SRC": {"uri": "src/", "uriBaseId": "ROOT"}}
    assert based("a.py", "SRC", **bases) == "a.py"
    assert based("a.py", "SRC", SRC=bases["SRC"], ROOT={}) == "src/a.py"


def test_a_base_that_nobody_defines_is_the_root() -> None:
    assert based("src/a.py", "%SRCROOT%") == "src/a.py"


def test_bases_in_a_circle_come_to_an_end() -> None:
    circle = {"A": {"uri": "a/", "uriBaseId": "B"}, "B": {"uri": "b/", "uriBaseId": "A"}}
    assert based("x.py", "A", **circle).endswith("a/x.py")


def test_two_bases_meet_in_the_directory_above_both() -> None:
    (run,) = logs.recorded("own-jscpd-requests-2.32.4").runs
    paths = {finding.location.path for finding in run.findings if finding.location is not None}
    assert "src/requests/adapters.py" in paths
    assert any(path.startswith("tests/") for path in paths)


def test_the_working_directory_is_the_root_when_results_are_below_it() -> None:
    invocation = {"executionSuccessful": True, "workingDirectory": {"uri": "file:///p/"}}
    data = logs.made(logs.result("file:///p/src/a.py"), invocations=[invocation])
    assert logs.place(data).path == "src/a.py"


def test_an_index_stands_for_the_uri() -> None:
    result = logs.result()
    result["locations"] = [{"physicalLocation": {"artifactLocation": {"index": 0}}}]
    data = logs.made(result, artifacts=[{"location": {"uri": "src/a.py"}}])
    assert logs.place(data).path == "src/a.py"


def test_the_common_root_is_the_deepest_directory_of_all() -> None:
    assert common_root(["/p/src/a.py", "/p/src/b/c.py"]) == "/p/src"
    assert common_root(["/p/src/a.py", "/p/srcs/c.py"]) == "/p"
    assert common_root(["/home/p/a.py", "/home/p/b.py", "/usr/include/x.h"]) == "/home/p"
    assert common_root(["/a.py"]) == ""
    assert common_root([]) is None
