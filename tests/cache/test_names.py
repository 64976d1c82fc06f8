"""Names and keys lead to each other, and a value and its lock share a cluster's node."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from redis.crc import key_slot

from insight_cloud.cache.names import Key, Names
from insight_cloud.core.errors import Refused

_names = Names("ns")
_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(_text)
def test_a_key_comes_back_from_its_name(key: str) -> None:
    assume(key[0] != "}")
    assert _names.key(_names.value(key)) == key
    assert _names.tag_of(_names.tag(key)) == key


@given(_text)
def test_a_tag_is_no_value(tag: str) -> None:
    assert _names.key(_names.tag(tag)) is None


@given(_text)
def test_a_value_and_its_lock_are_on_one_node(key: str) -> None:
    assume(key[0] != "}")
    assert key_slot(_names.value(key).encode()) == key_slot(_names.lock(key).encode())


@pytest.mark.parametrize("key", ["", "}a"])
def test_a_key_without_a_place_is_refused(key: str) -> None:
    with pytest.raises(Refused):
        _names.value(key)


@pytest.mark.parametrize("namespace", ["", "a:b", "a*", "a{b", "x" * 65])
def test_a_namespace_is_plain(namespace: str) -> None:
    with pytest.raises(Refused):
        Names(namespace)


def test_a_first_version_is_the_key_itself() -> None:
    assert Key("a", int) == "a"
    assert Key("a", int, version=2) == "a@2"
