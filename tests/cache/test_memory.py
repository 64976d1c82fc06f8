"""The store in the process keeps the contract and its bounds."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.cache import Backend, Memory
from insight_cloud.cache.memory import glob
from insight_cloud.core.errors import Refused
from tests.cache.contract import Contract


class TestMemory(Contract):
    @pytest.fixture
    async def make_backend(self) -> Callable[[], Backend]:
        store = Memory()
        return lambda: store


async def test_the_least_recently_used_gives_way() -> None:
    store = Memory(limit_bytes=2000)
    for name in ("a", "b", "c"):
        await store.set(name, b"x" * 300, 60_000)
    assert await store.get("a") is not None
    await store.set("d", b"x" * 300, 60_000)
    assert [await store.get(n) is not None for n in "abcd"] == [True, False, True, True]


async def test_the_bound_holds_for_what_python_really_takes() -> None:
    limit = 2**20
    store = Memory(limit_bytes=limit)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(20_000):
            await store.set(f"name:{number}", b"%0100d" % number, 60_000)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert store.held_bytes <= limit
    assert taken <= limit


async def test_what_can_never_fit_is_refused() -> None:
    with pytest.raises(Refused, match="more than the whole cache"):
        await Memory(limit_bytes=1000).set("a", b"x" * 1000, 1000)


async def test_time_is_the_clocks() -> None:
    now = 100.0
    store = Memory(clock=lambda: now)
    await store.set("a", b"1", 5000)
    now = 104.9
    assert await store.remaining_ms("a") == 99
    now = 105.0
    assert await store.get("a") is None
    assert store.held_bytes == 0


@given(st.text())
def test_a_quoted_text_matches_itself_only(text: str) -> None:
    quoted = "".join("\\" + letter for letter in text)
    assert glob(quoted).fullmatch(text)
    assert not glob(quoted).fullmatch(text + "x")


@given(st.text(alphabet="ab*?[]^-\\"))
def test_any_text_is_a_pattern(pattern: str) -> None:
    assert isinstance(glob(pattern), re.Pattern)
