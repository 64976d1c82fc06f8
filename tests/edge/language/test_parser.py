"""What is refused, where it says so, and that no text at all makes the parser crash or hang."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_cloud.edge.language import ExpressionError, parse, parse_value
from insight_cloud.edge.language.fields import FIELDS
from insight_cloud.edge.language.functions import FUNCTIONS
from insight_cloud.edge.language.parser import MOST_CHARACTERS, MOST_DEPTH
from insight_cloud.edge.language.syntax import Node
from tests.edge.language.vectors import INVALID

_WORDS = [
    *["and", "or", "xor", "not", "&&", "||", "^^", "!", "(", ")", "[", "]", "{", "}", "[*]", ","],
    *["eq", "ne", "lt", "in", "contains", "matches", "wildcard", "strict wildcard", "==", "~", "&"],
    *['"a"', '"\\""', '"a*b"', 'r"a"', 'r#"a"#', "1", "-1", "0x1", "1..2", "10.0.0.0/8", "::1"],
    *["$list", '"', "\\", "\t", "\n", "é", "61:62"],
    *[
        "true",
        "false",
        "http.host",
        "ssl",
        "ip.src",
        "http.request.headers",
        '["a"]',
        "[0]",
        "cf.waf.score",
    ],
    *["any(", "all(", "lower(", "len(", "concat(", "starts_with(http.host, ", "split("],
]


@pytest.mark.parametrize(("text", "position"), INVALID)
def test_it_is_refused_at_the_place_that_is_wrong(text: str, position: int) -> None:
    with pytest.raises(ExpressionError) as refused:
        parse(text)
    assert refused.value.position == position, str(refused.value)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ('http.hots eq "a"', "did you mean http.host?"),
        ("http.host eq a.com", '"a.com"'),
        ("ssl eq true", "not ssl"),
        ('http.host EQ "a"', "small letters: eq"),
        ('http.request.uri.path ends_with "x"', "ends_with is a function"),
        ("ip.src in {10.0.0.1/24}", "10.0.0.0/24"),
        ('http.request.headers.names[*] eq "a"', "any(…)"),
        ("ip.src eq 10.0.0.0/8", "in {…}"),
        ("cf.edge.server_port in {80, 443}", "spaces"),
        ('http.host matches "a(?=b)"', "look-around"),
        (r'http.host matches "(a)\1"', "backreferences"),
        ('lower_case(http.host) eq "a"', "there is no function lower_case"),
    ],
)
def test_the_message_says_what_to_do(text: str, advice: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        parse(text)
    assert advice in str(refused.value)


def test_the_place_is_given_by_line_and_column_with_a_mark_below() -> None:
    with pytest.raises(ExpressionError) as refused:
        parse('ssl\n  and http.hots eq "a"')
    error = refused.value
    assert (error.line, error.column) == (2, 7)
    assert error.pointer() == '  and http.hots eq "a"\n      ^'


def test_what_exists_elsewhere_only_is_refused_in_a_phase() -> None:
    text = 'any(split(http.host, ".", 3)[*] eq "a")'
    parse(text)
    with pytest.raises(ExpressionError, match="does not exist in the phase"):
        parse(text, phase="http_request_firewall_custom")
    with pytest.raises(ExpressionError, match="error_type does not exist"):
        parse('cf.response.error_type eq "waf"', phase="http_ratelimit")


def test_depth_and_length_have_limits() -> None:
    deep = MOST_DEPTH
    assert str(parse("(" * deep + "ssl" + ")" * deep)) == "ssl"
    with pytest.raises(ExpressionError, match="deep"):
        parse("(" * (deep + 1) + "ssl" + ")" * (deep + 1))
    with pytest.raises(ExpressionError, match="deep"):
        parse("not " * (deep + 1) + "ssl")
    nested = "lower(" * (deep - 1) + "http.host" + ")" * (deep - 1)
    with pytest.raises(ExpressionError, match="deep"):
        parse(f'{nested} eq "a"')
    longest = 'http.host eq "' + "a" * (MOST_CHARACTERS - 15) + '"'
    assert len(longest) == MOST_CHARACTERS
    assert str(parse(longest)) == longest
    with pytest.raises(ExpressionError, match="at most 4096"):
        parse(longest + " ")


def test_a_long_chain_is_not_deep() -> None:
    for operator in (" and ", " xor "):
        chain = operator.join(["ssl"] * 500)
        assert str(parse(chain)) == chain


@pytest.mark.parametrize(
    "text",
    [
        'concat("https://", http.host, http.request.uri.path)',
        'regex_replace(http.host, "^www[.]", "")',
        'wildcard_replace(http.request.full_uri, "https://*/a/*", "https://${1}/b/${2}")',
        "to_string(cf.edge.server_port)",
        'remove_query_args(http.request.uri.query, "utm_source")',
        "http.request.uri.path",
        '"/fixed"',
    ],
)
def test_an_expression_that_makes_a_value_is_read(text: str) -> None:
    node = parse_value(text)
    assert parse_value(str(node)) == node


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ssl", "a String is needed"),
        ("cf.edge.server_port", "a String is needed"),
        ("http.request.headers", "a String is needed"),
        ('regex_replace(regex_replace(http.host, "a", "b"), "a", "b")', "once at most"),
        ('regex_replace(http.host, "(", "b")', "wrong pattern"),
        ('wildcard_replace(http.host, "**", "b")', "wrong pattern"),
        ('regex_replace(http.host, "a", "' + "${1}" * 9 + '")', "at most 8"),
        ('http.host eq "a"', "a String is needed"),
    ],
)
def test_a_wrong_value_expression_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ExpressionError, match=reason):
        parse_value(text)


@settings(max_examples=400)
@given(st.lists(st.sampled_from(_WORDS), max_size=25).map(" ".join) | st.text(max_size=80))
def test_no_text_makes_it_crash(text: str) -> None:
    found = _outcome(text)
    if isinstance(found, ExpressionError):
        assert 0 <= found.position <= len(text)
        assert found.pointer().endswith("^")
    else:
        assert parse(str(found)) == found


def _outcome(text: str) -> Node | ExpressionError:
    try:
        return parse(text)
    except ExpressionError as error:
        return error


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_function_refuses_no_arguments(name: str) -> None:
    with pytest.raises(ExpressionError):
        parse(f"{name}()")


def test_every_field_has_a_type_that_the_language_knows() -> None:
    for name, known in FIELDS.items():
        assert known.plan in {"free", "pro", "business", "enterprise"}, name
        if str(known.type) == "Boolean":
            assert str(parse(name)) == name
