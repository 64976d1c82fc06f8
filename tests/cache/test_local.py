"""Copies stay within their bound, and one that may be wrong is never kept."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from insight_cloud.cache.local import Copy, Local, Ticket

_KEYS = st.sampled_from(["a", "b", "c"])
_TAGS = st.sampled_from(["x", "y"])


def _copy(value: Any = "v", tags: tuple[str, ...] = ()) -> Copy:
    return Copy(value, expires=1e12, refresh_at=1e12, tags=tags)


def _keep(local: Local, key: str, copy: Copy) -> bool:
    ticket = local.begin(key)
    kept = local.keep(key, ticket, copy)
    local.end(key, ticket)
    return kept


def test_the_least_recently_used_gives_way() -> None:
    local = Local(2000)
    for key in "abc":
        assert _keep(local, key, _copy())
    local.copies.move_to_end("a")
    assert _keep(local, "d", _copy())
    assert list(local.copies) == ["c", "a", "d"]


@dataclass
class _Point:
    x: float
    names: tuple[str, ...]


class _Row(msgspec.Struct):
    line: int
    text: str


@pytest.mark.parametrize(
    "value", [_Point(1.5, ("a" * 99, "b" * 99)), [_Row(n, f"row {n}") for n in range(1000, 1009)]]
)
def test_the_bound_holds_for_objects_too(value: Any) -> None:
    limit, raw, kind = 2**19, msgspec.msgpack.encode(value), type(value)
    decoder = msgspec.msgpack.Decoder(list[_Row] if kind is list else kind)
    local = Local(limit)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(1200):
            _keep(local, f"key:{number}", _copy(decoder.decode(raw)))
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert taken <= limit


def test_no_bytes_keep_no_copies() -> None:
    local = Local(0)
    assert not _keep(local, "a", _copy())
    assert not local.copies


@pytest.mark.parametrize(
    "value",
    [
        {"id": 7, "tags": ["x", "y"], "text": "lorem " * 90, "all": [{"n": n} for n in range(9)]},
        [{"line": n, "rule": f"R{n}", "message": f"unused import number {n}"} for n in range(9)],
        "text " * 200,
        b"bytes" * 200,
        list(range(1000, 1100)),
    ],
)
def test_the_bound_holds_for_what_python_really_takes(value: Any) -> None:
    limit = 2**19
    raw = msgspec.msgpack.encode(value)
    local = Local(limit)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(800):
            decoded = msgspec.msgpack.decode(raw)
            _keep(local, f"key:{number}", _copy(decoded, ("tag",)))
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert local.held_bytes <= limit
    assert taken <= limit


class Coherence(RuleBasedStateMachine):
    """Changes and fetches in any order: a copy that was kept is what a fetch would bring now."""

    @initialize()
    def begin(self) -> None:
        self.local = Local(10**6)
        self.truth = dict.fromkeys("abc", 0)
        self.fetches: list[tuple[str, Ticket, int, tuple[str, ...]]] = []
        self.fetches_with_old_tags: set[int] = set()

    @rule(key=_KEYS, tags=st.sets(_TAGS))
    def fetch_begins(self, key: str, tags: set[str]) -> None:
        fetch = (key, self.local.begin(key), self.truth[key], tuple(tags))
        self.fetches.append(fetch)

    @rule(data=st.data())
    def fetch_ends(self, data: st.DataObject) -> None:
        if not self.fetches:
            return
        fetch = data.draw(st.sampled_from(self.fetches))
        self.fetches.remove(fetch)
        key, ticket, value, tags = fetch
        kept = self.local.keep(key, ticket, _copy(value, tags))
        assert not (kept and id(ticket) in self.fetches_with_old_tags)
        self.fetches_with_old_tags.discard(id(ticket))
        self.local.end(key, ticket)

    @rule(key=_KEYS)
    def key_changes(self, key: str) -> None:
        self.truth[key] += 1
        self.local.drop(key)

    @rule(tag=_TAGS)
    def tag_changes(self, tag: str) -> None:
        self.fetches_with_old_tags |= {id(f[1]) for f in self.fetches if tag in f[3]}
        self.local.drop_tag(tag)
        assert not any(tag in copy.tags for copy in self.local.copies.values())

    @rule()
    def anything_changes(self) -> None:
        for key in self.truth:
            self.truth[key] += 1
        self.local.clear()

    @invariant()
    def copies_are_true(self) -> None:
        local = getattr(self, "local", None)
        if local is None:
            return
        for key, copy in local.copies.items():
            assert copy.value == self.truth[key]
        assert local.held_bytes == sum(copy.weight for copy in local.copies.values())
        indexed = {(tag, key) for tag, keys in local._by_tag.items() for key in keys}
        assert indexed == {(t, k) for k, copy in local.copies.items() for t in copy.tags}

    def teardown(self) -> None:
        for key, ticket, _, _ in getattr(self, "fetches", []):
            self.local.end(key, ticket)
        if hasattr(self, "local"):
            assert not self.local._fetching


def test_a_copy_whose_tag_changed_while_it_was_fetched_is_not_kept() -> None:
    local = Local(10**6)
    ticket = local.begin("a")
    local.drop_tag("x")
    assert not local.keep("a", ticket, _copy(tags=("x",)))
    assert local.keep("a", ticket, _copy(tags=()))


def test_versions_fetched_while_a_tag_changed_are_not_remembered() -> None:
    local = Local(10**6)
    ticket = local.begin("a")
    local.drop_tag("x")
    local.keep_versions(ticket, {"x": "1"})
    assert local.versions(["x"]) == {}
    local.keep_versions(local.begin("a"), {"x": "2"})
    assert local.versions(["x", "y"]) == {"x": "2"}


TestCoherence = Coherence.TestCase
TestCoherence.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
