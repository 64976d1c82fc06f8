"""What expressions say of requests: the documented examples, and many more of our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from insight_cloud.edge.language import ExpressionError, Request, compiled, fields_of, parse
from tests.edge.language.vectors import VECTORS, Cases

DATA = Path(__file__).parents[2] / "data" / "edge"
SHORT = {"country": "ip.src.country", "ip": "ip.src"}


def _request(described: dict[str, Any]) -> Request:
    given = dict(described)
    headers = tuple((name, value) for name, value in given.pop("headers", ()))
    plain = {key: given.pop(key) for key in ("url", "method") if key in given}
    known = {SHORT.get(key, key): value for key, value in given.items()}
    return Request(**plain, headers=headers, known=known)


def _documented() -> list[tuple[str, dict[str, Any], bool]]:
    entries = json.loads((DATA / "expressions.json").read_text())
    return [(e["expression"], c["request"], c["expected"]) for e in entries for c in e["cases"]]


def _pairs(cases: Cases) -> list[tuple[Request, bool | None]]:
    if isinstance(cases, list):
        return cases
    return [
        (Request(url if "://" in url else f"https://example.com{url}"), expected)
        for url, expected in cases.items()
    ]


OURS = [(text, *pair) for text, cases in VECTORS for pair in _pairs(cases)]


@pytest.mark.parametrize(("text", "request_", "expected"), _documented())
def test_a_documented_example_is_as_documented(
    text: str, request_: dict[str, Any], *, expected: bool
) -> None:
    assert compiled(text)(fields_of(_request(request_))) is expected


def test_the_documented_examples_are_all_there() -> None:
    assert len({text for text, _, _ in _documented()}) == 28


@pytest.mark.parametrize(("text", "request_", "expected"), OURS)
def test_a_vector_of_our_own_is_as_it_must_be(
    text: str, request_: Request, *, expected: bool | None
) -> None:
    assert compiled(text)(fields_of(request_)) is expected


def test_there_are_many_vectors_of_our_own() -> None:
    assert len(OURS) >= 350


@pytest.mark.parametrize("text", json.loads((DATA / "expressions.invalid.json").read_text()))
def test_what_the_documentation_calls_invalid_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        parse(text)
    assert 0 <= refused.value.position <= len(text)
