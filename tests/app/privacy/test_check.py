"""The allow-lists: every log fits once it is reduced, and one thing more is named."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.app import privacy
from insight_cloud.app.detectors import tokens
from insight_cloud.app.privacy import LEVELS, Keyed, Level, check
from insight_cloud.app.sarif import read
from insight_cloud.core.errors import Invalid
from tests.app.privacy.bodies import CASES, KEYED, TOKEN, body, with_more
from tests.app.sarif.logs import ALL

BELOW = LEVELS[1:4]


@pytest.mark.parametrize(("level", "pointer"), CASES)
def test_one_thing_more_is_named_by_its_pointer(level: Level, pointer: str) -> None:
    assert privacy.faults(body(level), level, tokens.find) == []
    found = privacy.faults(with_more(level, pointer), level, tokens.find)
    assert [place for place, _ in found] == [pointer]


@pytest.mark.parametrize(("level", "pointer"), CASES)
def test_require_refuses_the_bytes(level: Level, pointer: str) -> None:
    with pytest.raises(Invalid) as refused:
        privacy.require(msgspec.json.encode(with_more(level, pointer)), level, tokens.find)
    assert [place for place, _ in refused.value.problems] == [pointer]
    privacy.require(msgspec.json.encode(body(level)), level, tokens.find)


def test_each_level_includes_those_before_it() -> None:
    for higher in LEVELS:
        for lower in LEVELS[1:]:
            takes = not privacy.faults(body(lower), higher, tokens.find)
            assert takes == privacy.admits(higher, lower) or higher == lower
            assert privacy.admits(higher, lower) == (LEVELS.index(lower) <= LEVELS.index(higher))


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_every_log_fits_once_it_is_reduced(path: Path) -> None:
    try:
        log = read.log(path.read_bytes())
    except Invalid:
        return  # it is refused as a log, at every level
    for level in BELOW:
        data = privacy.log(log.runs, level, find=tokens.find, keyed=KEYED)
        privacy.require(data, level, tokens.find)
        again = read.log(data)
        assert again.warnings == ()
        assert [len(run.findings) for run in again.runs] == [len(run.findings) for run in log.runs]
    data = privacy.counts(log.runs, branch="a/b", commit="x", keyed=Keyed())
    privacy.require(data, "counts", tokens.find)


def validator(level: Level) -> jsonschema.Draft202012Validator:
    formats = jsonschema.FormatChecker(formats=())
    formats.checks("masked")(
        lambda text: not isinstance(text, str) or privacy.masked(text, tokens.find) == text
    )
    schema = privacy.schema(level)
    assert schema is not None
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema, format_checker=formats)


VALIDATORS = {level: validator(level) for level in LEVELS[:4]}
BODIES = {level: body(level) for level in LEVELS[:4]}
STRANGE: list[Any] = [None, True, -1, 0, 1.5, 2**40, "", "x", "../x", "/x", TOKEN, [], {}, {"a": 1}]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        items: list[tuple[Any, Any]] = list(value.items())
    else:
        items = list(enumerate(value)) if isinstance(value, list) else []
    return [path, *(below for step, item in items for below in places(item, (*path, step)))]


def _escaped(step: object) -> str:
    """A step of a JSON pointer (RFC 6901)."""
    return str(step).replace("~", "~0").replace("/", "~1")


@given(data=st.data(), level=st.sampled_from(LEVELS[:4]), strange=st.sampled_from(STRANGE))
def test_the_walk_says_what_a_schema_validator_says(
    data: st.DataObject, level: Level, strange: Any
) -> None:
    document = copy.deepcopy(BODIES[level])
    path = data.draw(st.sampled_from(places(document)))
    target: Any = document
    for step in path[:-1]:
        target = target[step]
    if path:
        act = data.draw(st.sampled_from(("replace", "add", "delete")))
        if act == "replace":
            target[path[-1]] = strange
        elif act == "delete":
            del target[path[-1]]
        elif isinstance(target, dict):
            target["another"] = strange
    walk = check._Walk(level, tokens.find)
    schema = privacy.schema(level)
    assert schema is not None
    walk.visit(schema, document, ())
    theirs = {
        "".join(f"/{_escaped(step)}" for step in error.absolute_path)
        for error in VALIDATORS[level].iter_errors(document)
    }
    assert bool(walk.found) == bool(theirs)
    for pointer, _ in walk.found:
        assert any(pointer.startswith(place) for place in theirs)


def test_a_log_where_counts_are_taken_names_its_paths_first() -> None:
    found = privacy.faults(body("findings"), "counts", tokens.find)
    first = "/runs/0/results/0/locations/0/physicalLocation/artifactLocation/uri"
    assert found[0][0] == first
    assert len(found) <= check.FAULTS_LIMIT
    empty = privacy.faults({"version": "2.1.0", "runs": []}, "counts", tokens.find)
    assert [place for place, _ in empty] == ["/runs"]


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_not_json_is_refused(data: bytes) -> None:
    for level in LEVELS[:4]:
        with pytest.raises(Invalid):
            privacy.require(data, level, tokens.find)


def test_a_report_of_another_form_is_refused_whole() -> None:
    for level in LEVELS[:4]:
        assert privacy.faults([{"fingerprint": "x"}], level, tokens.find)[0][0] == ""


def test_a_million_faults_are_not_collected() -> None:
    document = body("metadata")
    result = document["runs"][0]["results"][0] | {"fixes": []}
    document["runs"][0]["results"] = [result] * 100_000
    assert len(privacy.faults(document, "metadata", tokens.find)) == check.FAULTS_LIMIT
