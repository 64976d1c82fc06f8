"""What is packed is unpacked; garbage is told from values; refreshes come in time."""

from __future__ import annotations

import base64
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.cache import entry
from insight_cloud.core.errors import Corrupt, Refused

_data = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(
    value=_data,
    expires=st.floats(0, 2**40),
    cost=st.floats(0, 2**40),
    tags=st.dictionaries(st.text(), st.text(), max_size=5),
)
def test_what_is_packed_is_unpacked(
    value: Any, expires: float, cost: float, tags: dict[str, str]
) -> None:
    found = entry.unpack(entry.pack(entry.encode(value), expires=expires, cost=cost, tags=tags))
    assert found.value == value
    assert found.tags == tags
    assert found.expires == pytest.approx(expires, abs=0.001)
    assert found.cost <= cost + 0.001


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_counter_is_its_digits_and_lives_as_long_as_the_store_says(number: int) -> None:
    raw = entry.counter(number)
    assert raw == str(number).encode()
    assert entry.unpack(raw) == entry.Entry(number, math.inf, 0.0, {})


@pytest.mark.parametrize("value", [True, 2**63, 1.0, "1", None])
def test_what_is_no_plain_integer_is_no_counter(value: object) -> None:
    assert entry.counter(value) is None


@given(st.binary())
def test_garbage_is_a_value_or_corrupt_and_nothing_else(raw: bytes) -> None:
    try:
        entry.unpack(raw)
    except Corrupt:
        return


@given(st.binary(min_size=1), st.integers(0, 100))
def test_a_value_cut_short_is_corrupt(payload: bytes, cut: int) -> None:
    raw = entry.pack(entry.encode(payload), expires=1.0, tags={"a": "b"})
    with pytest.raises(Corrupt):
        entry.unpack(raw[: max(0, len(raw) - 1 - cut)])


@given(value=_data, first=st.floats(0, 2**40), second=st.floats(0, 2**40))
def test_a_new_head_changes_the_end_of_life_only(value: Any, first: float, second: float) -> None:
    raw = entry.pack(entry.encode(value), expires=first, cost=2.0, tags={"a": "b"})
    head = entry.head(second)
    patched = entry.unpack(head + raw[len(head) :])
    assert patched == entry.unpack(
        entry.pack(entry.encode(value), expires=second, cost=2.0, tags={"a": "b"})
    )
    as_text = base64.b64encode(head) + base64.b64encode(raw)[12:]
    assert entry.unpack(base64.b64decode(as_text)) == patched


@given(st.floats(0, 2**40), st.floats(0, 1e6), st.floats(1e-9, 1))
def test_a_refresh_is_never_after_the_end(expires: float, cost: float, chance: float) -> None:
    assert entry.refresh_at(expires, cost, chance) <= expires


def test_a_refresh_is_earlier_the_longer_the_work_takes() -> None:
    assert entry.refresh_at(100, 3, 0.5) < entry.refresh_at(100, 1, 0.5) < 100
    assert entry.refresh_at(100, 0, 0.5) == 100


def test_too_many_tags_are_refused() -> None:
    with pytest.raises(Refused, match="too many tags"):
        entry.pack(b"", expires=1, tags={f"tag number {n}": "x" * 16 for n in range(3000)})


def test_a_value_that_breaks_its_keys_promise_is_refused() -> None:
    with pytest.raises(Refused, match="int"):
        entry.decode(entry.encode("text"), int)
