"""Regular expressions end in linear time, and tell wrong from merely unknown here."""

from __future__ import annotations

import pytest

from insight_cloud.edge.language import Request, compiled, fields_of, regex


def test_a_pattern_that_would_explode_elsewhere_does_not() -> None:
    # Python's own engine would need 2^60 steps for this one.
    search = regex.compiled("^(a+)+$")
    assert search(b"a" * 60 + b"b") is None
    assert search(b"a" * 60)
    assert regex.compiled("(x+x+)+y")(b"x" * 20_000) is None


@pytest.mark.parametrize("text", ["[a-z&&[^b]]", "(?x)a b", r"\b{start}a", "[a--b]", r"\<a"])
def test_what_only_rust_knows_is_unknown_and_not_wrong(text: str) -> None:
    with pytest.raises(regex.UnsupportedPattern):
        regex.compiled(text)
    assert compiled(f'http.host matches r"{text}"')(fields_of(Request())) is None


@pytest.mark.parametrize("text", ["(", "a**", r"\C", r"\Qa\E", "a(?=b)", "(?<=a)b", r"(a)\1", "[]"])
def test_a_wrong_pattern_is_refused(text: str) -> None:
    with pytest.raises(regex.PatternError):
        regex.compiled(text)


@pytest.mark.parametrize("text", [r"[a&b]", r"[[:alpha:]]+", r"[^-]", r"\\C", r"a\.b", r"[\[]"])
def test_a_pattern_that_only_looks_like_those_is_taken(text: str) -> None:
    matches = compiled(f'http.host matches r"{text}"')
    assert matches(fields_of(Request())) is not None


def test_unicode_is_off_unless_it_is_asked_for() -> None:
    assert regex.compiled("^.$")("é".encode()) is None
    assert regex.compiled("(?u)^.$")("é".encode())
    assert regex.compiled(r"(?u)\p{Hangul}+")("한".encode())


@pytest.mark.parametrize(
    ("value", "pattern", "replacement", "expected"),
    [
        ("/foo/bar", "/bar$", "/baz", "/foo/baz"),
        ("/x", "^/y$", "/mumble", "/x"),
        ("/foo", "^/FOO$", "/x", "/foo"),
        ("/a/a", "/a", "/b", "/b/a"),
        ("/b", "^/b$", "/b$$", "/b$"),
        ("/foo/a/path", "^/foo/([^/]*)/(.*)$", "/bar/${2}/${1}", "/bar/path/a"),
        ("ab", "(a)(x)?", "${2}${1}${7}", "ab"),
    ],
)
def test_the_first_match_is_replaced(
    value: str, pattern: str, replacement: str, expected: str
) -> None:
    found = regex.replaced(pattern, value.encode(), replacement.encode())
    assert found.decode() == expected
