"""A tree that is printed and read again is the same tree, whatever is in it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_cloud.edge.language import parse
from insight_cloud.edge.language.syntax import (
    Call,
    Compare,
    Field,
    Index,
    Items,
    Literal,
    Logic,
    Node,
    Not,
    Pattern,
    Range,
    Wildcard,
)
from insight_cloud.edge.language.types import BOOL, BYTES, INT, IP, array, read
from tests.edge.language.vectors import VECTORS

PATH = Field("http.request.uri.path", BYTES)
PORT = Field("cf.edge.server_port", INT)
SOURCE = Field("ip.src", IP)
SSL = Field("ssl", BOOL)
NAMES = Field("http.request.headers.names", array(BYTES))
HEADERS = Field("http.request.headers", read("Map<Array<Bytes>>"))

_text = st.binary(max_size=12) | st.text(max_size=12).map(
    lambda text: text.encode(errors="surrogatepass")
)
_int = st.integers(-(2**63), 2**63 - 1)
_v4 = st.integers(0, 2**32 - 1).map(IPv4Address)
_v6 = st.integers(0, 2**128 - 1).map(IPv6Address)
_net = st.builds(
    lambda address, bits: IPv4Network((address, bits), strict=False), _v4, st.integers(0, 32)
)


def _range(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Range]:
    return st.tuples(values, values).map(sorted).map(lambda pair: Range(*pair))


_strings: st.SearchStrategy[Node] = st.sampled_from(
    [PATH, Index(Index(HEADERS, b"accept", array(BYTES)), 0, BYTES), Call("lower", (PATH,), BYTES)]
)
_byte = _text.map(lambda value: Literal(value, BYTES))
_compare = st.one_of(
    st.builds(Compare, _strings, st.sampled_from(["eq", "ne", "lt", "ge", "contains"]), _byte),
    st.builds(
        Compare,
        _strings,
        st.just("in"),
        st.lists(_byte, min_size=1, max_size=4).map(lambda items: Items(tuple(items))),
    ),
    st.builds(
        Compare, _strings, st.just("matches"), st.sampled_from(["^a", 'b"c', "x\\.y"]).map(Pattern)
    ),
    st.builds(Compare, _strings, st.just("wildcard"), st.sampled_from([b"/*", b"a"]).map(Wildcard)),
    st.builds(
        Compare,
        st.just(PORT),
        st.sampled_from(["eq", "gt", "bitwise_and"]),
        _int.map(lambda v: Literal(v, INT)),
    ),
    st.builds(
        Compare,
        st.just(PORT),
        st.just("in"),
        st.lists(_int.map(lambda v: Literal(v, INT)) | _range(_int), min_size=1, max_size=4).map(
            lambda items: Items(tuple(items))
        ),
    ),
    st.builds(
        Compare,
        st.just(SOURCE),
        st.just("in"),
        st.lists(
            (_v4 | _v6 | _net).map(lambda v: Literal(v, IP)) | _range(_v4) | _range(_v6),
            min_size=1,
            max_size=4,
        ).map(lambda items: Items(tuple(items))),
    ),
    st.builds(
        lambda value: Call("any", (Compare(Index(NAMES, None, BYTES), "eq", value),), BOOL), _byte
    ),
)
_tree: st.SearchStrategy[Node] = st.recursive(
    st.just(SSL) | _compare,
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(
            lambda operator, parts: Logic(operator, tuple(parts)),
            st.sampled_from(["and", "or", "xor"]),
            st.lists(inner, min_size=2, max_size=4),
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300)
@given(_tree)
def test_what_is_printed_reads_as_the_same(node: Node) -> None:
    text = str(node)
    if len(text) <= 4096:
        assert parse(text) == node, text


@pytest.mark.parametrize("text", [text for text, _ in VECTORS])
def test_a_vector_prints_as_the_same(text: str) -> None:
    node = parse(text)
    assert parse(str(node)) == node
    assert str(parse(str(node))) == str(node)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ssl   and\n ssl", "ssl and ssl"),
        ('http.host=="a"', 'http.host eq "a"'),
        ("!ssl||ssl", "not ssl or ssl"),
        ('http.host eq r"a"', 'http.host eq "a"'),
        ("cf.edge.server_port eq 0x50", "cf.edge.server_port eq 80"),
        ("ip.src eq 2001:0db8::0001", "ip.src eq 2001:db8::1"),
        ("(((ssl)))", "ssl"),
    ],
)
def test_two_ways_to_write_the_same_print_alike(one: str, other: str) -> None:
    assert str(parse(one)) == str(parse(other)) == other


def test_parentheses_that_mean_something_stay() -> None:
    assert str(parse("(ssl or ssl) and ssl")) == "(ssl or ssl) and ssl"
    assert parse("(ssl or ssl) and ssl") != parse("ssl or ssl and ssl")
