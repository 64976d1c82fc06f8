"""What `Cache` promises over every store; each backend's test class inherits it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from insight_cloud.cache import MISSING, Backend, Cache, Key
from insight_cloud.core.errors import Conflict, Refused

__all__ = ["Contract", "Counter", "eventually"]


@dataclass(frozen=True)
class Project:
    name: str
    seen: datetime


class Counter:
    """Something to compute that counts how often it was."""

    def __init__(self, value: Any = "made", *, gate: asyncio.Event | None = None) -> None:
        self.calls = 0
        self.value = value
        self.gate = gate
        self.error: Exception | None = None

    async def __call__(self) -> Any:
        self.calls += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self.value


async def eventually(holds: Callable[[], Any], *, seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - any condition, also one without an event
            await asyncio.sleep(0.001)


class Contract:
    """A subclass gives `backend`, a fresh one for each call, all on the same store."""

    @pytest.fixture
    async def make_backend(self) -> Callable[[], Backend]:
        raise NotImplementedError

    @pytest.fixture
    def namespace(self) -> str:
        return uuid4().hex

    @pytest.fixture
    async def make_cache(
        self, make_backend: Callable[[], Backend], namespace: str
    ) -> AsyncIterator[Callable[..., Cache]]:
        made: list[Cache] = []

        def make(**options: Any) -> Cache:
            # A short lease makes the tests of a dead holder short; long time-outs keep a busy
            # machine from being taken for a dead server.
            settings = {"namespace": namespace, "timeout": timedelta(seconds=5), **options}
            made.append(Cache(make_backend(), **settings))
            return made[-1]

        yield make
        for cache in made:
            await cache.close()

    @pytest.fixture
    async def cache(self, make_cache: Callable[..., Cache]) -> Cache:
        return make_cache()

    @pytest.fixture
    async def other(self, make_cache: Callable[..., Cache]) -> Cache:
        """A second process' view, as far as the store can tell."""
        return make_cache()

    # Values

    async def test_what_was_set_is_found(self, cache: Cache) -> None:
        await cache.set("a", {"x": [1, "two", None, b"\xff\x00"]})
        assert await cache.get("a") == {"x": [1, "two", None, b"\xff\x00"]}
        assert await cache.get("a") == {"x": [1, "two", None, b"\xff\x00"]}

    async def test_another_process_finds_it_too(self, cache: Cache, other: Cache) -> None:
        await cache.set("a", "b")
        assert await other.get("a") == "b"

    async def test_a_miss_is_the_default(self, cache: Cache) -> None:
        assert await cache.get("a") is None
        assert await cache.get("a", 7) == 7

    async def test_none_is_a_value(self, cache: Cache) -> None:
        await cache.set("a", None)
        assert await cache.get("a", MISSING) is None
        assert await cache.exists("a")

    async def test_a_computed_none_is_not_computed_again(self, cache: Cache) -> None:
        make = Counter(None)
        assert await cache.get_or_set("a", make) is None
        assert await cache.get_or_set("a", make) is None
        assert make.calls == 1

    async def test_a_typed_key_gives_its_type(self, cache: Cache, other: Cache) -> None:
        key = Key("project:1", Project)
        project = Project("x", datetime(2026, 1, 2, tzinfo=UTC))
        await cache.set(key, project)
        assert await other.get(key) == project
        assert await cache.get_or_set(key, Counter()) == project

    async def test_a_value_of_an_older_type_is_a_miss(self, cache: Cache) -> None:
        await cache.set("project:1", {"title": "x"})
        assert await cache.get(Key("project:1", Project)) is None

    async def test_a_new_schema_version_does_not_see_old_values(self, cache: Cache) -> None:
        await cache.set(Key("a", int), 1)
        assert await cache.get(Key("a", int, version=2)) is None

    async def test_what_is_no_data_is_refused(self, cache: Cache) -> None:
        with pytest.raises(Refused, match="object"):
            await cache.set("a", object())

    async def test_unusual_keys_are_keys(self, cache: Cache) -> None:
        keys = ["ü", "a b", "{x}:1", "a}b", "x:lock", "*", "tag:a", "q\r\n", "long" * 200]
        for key in keys:
            await cache.set(key, key, tags=[key])
        assert await cache.get_many(keys) == {key: key for key in keys}
        assert {key async for key in cache.keys("*")} == set(keys)

    async def test_a_value_expires(self, cache: Cache) -> None:
        await cache.set("a", 1, ttl=timedelta(milliseconds=60))
        await cache.set("b", "x", ttl=timedelta(milliseconds=60))
        assert await cache.get("b") == "x"
        await asyncio.sleep(0.1)
        assert await cache.get("a", MISSING) is MISSING
        assert await cache.get("b", MISSING) is MISSING

    async def test_five_minutes_is_the_default(self, cache: Cache) -> None:
        await cache.set("a", "x")
        await cache.increment("n")
        for key in ("a", "n"):
            left = await cache.ttl(key)
            assert left is not None
            assert timedelta(minutes=4, seconds=50) < left <= timedelta(minutes=5)

    async def test_a_ttl_must_be_positive(self, cache: Cache) -> None:
        with pytest.raises(Refused, match="positive"):
            await cache.set("a", "x", ttl=timedelta(seconds=-1))

    async def test_touch_prolongs_values_and_counters(self, cache: Cache, other: Cache) -> None:
        await cache.set("a", "x", ttl=timedelta(seconds=20))
        await cache.set("n", 5, ttl=timedelta(seconds=20))
        for key, value in (("a", "x"), ("n", 5)):
            assert await cache.touch(key, timedelta(hours=1))
            left = await other.ttl(key)
            assert left is not None
            assert left > timedelta(minutes=59)
            assert await cache.get(key) == value
            assert await other.get(key) == value

    async def test_touch_and_ttl_of_nothing(self, cache: Cache) -> None:
        assert not await cache.touch("a")
        assert await cache.ttl("a") is None

    async def test_delete_forgets(self, cache: Cache, other: Cache) -> None:
        await cache.set_many({"a": 1, "b": "2", "c": 3})
        assert await other.get("b") == "2"
        await cache.delete("a", "b", "nothing")
        await cache.delete()
        assert await cache.get_many(["a", "b", "c"]) == {"c": 3}
        assert not await cache.exists("a")

    # Counters

    async def test_increment_counts_from_zero(self, cache: Cache, other: Cache) -> None:
        assert await cache.increment("n") == 1
        assert await other.increment("n", 41) == 42
        assert await cache.increment("n", -2) == 40
        assert await other.get("n") == 40

    async def test_increments_at_once_are_all_counted(self, cache: Cache, other: Cache) -> None:
        await asyncio.gather(*(c.increment("n") for c in (cache, other) for _ in range(50)))
        assert await cache.get("n") == 100

    async def test_a_counter_can_be_set_and_is_exact(self, cache: Cache) -> None:
        await cache.set("n", 2**62)
        assert await cache.increment("n") == 2**62 + 1

    async def test_what_is_no_counter_cannot_be_incremented(self, cache: Cache) -> None:
        await cache.set("a", "text")
        with pytest.raises(Conflict):
            await cache.increment("a")
        assert await cache.get("a") == "text"

    # Many

    async def test_many_at_once(self, cache: Cache, other: Cache) -> None:
        values = {f"k{n}": f"v{n}" for n in range(1200)}
        await cache.set_many(values)
        assert await other.get_many([*values, "none"]) == values
        assert await other.get_many([]) == {}

    async def test_keys_match_a_glob(self, cache: Cache) -> None:
        await cache.set_many({"user:1": "a", "user:2": "b", "team:1": "c", "user*": "d"})
        assert {k async for k in cache.keys("user:*")} == {"user:1", "user:2"}
        assert {k async for k in cache.keys("[tx]eam:?")} == {"team:1"}
        assert {k async for k in cache.keys("user\\*")} == {"user*"}
        assert {k async for k in cache.keys("*")} == {"user:1", "user:2", "team:1", "user*"}

    async def test_clear_forgets_a_namespace_of_keys(self, cache: Cache, other: Cache) -> None:
        await cache.set_many({"user:1": "a", "user:2": "b", "users": "c"})
        assert await other.clear("user") == 2
        assert {k async for k in cache.keys("*")} == {"users"}

    async def test_clear_leaves_other_caches_alone(self, cache: Cache, make_cache: Any) -> None:
        stranger = make_cache(namespace=uuid4().hex)
        await stranger.set("a", "theirs")
        await cache.set("a", "ours")
        assert await cache.clear() == 1
        assert await cache.get("a") is None
        assert await stranger.get("a") == "theirs"

    # Tags

    async def test_invalidating_a_tag_forgets_all_that_have_it(
        self, cache: Cache, other: Cache
    ) -> None:
        await cache.set("a", "1", tags=["x", "y"])
        await cache.set("b", "2", tags=["y"])
        await cache.set("c", "3", tags=["z"])
        assert await other.get_many(["a", "b", "c"]) == {"a": "1", "b": "2", "c": "3"}
        await other.invalidate("x", "w")
        assert await other.get_many(["a", "b", "c"]) == {"b": "2", "c": "3"}
        await eventually(lambda: "a" not in cache._copies)
        assert await cache.get_many(["a", "b", "c"]) == {"b": "2", "c": "3"}

    async def test_a_tag_can_be_used_again(self, cache: Cache) -> None:
        await cache.set("a", "old", tags=["x"])
        await cache.invalidate("x")
        await cache.set("a", "new", tags=["x"])
        assert await cache.get("a") == "new"

    async def test_a_lost_tag_brings_nothing_back(
        self, cache: Cache, make_backend: Callable[[], Backend], namespace: str
    ) -> None:
        await cache.set("a", "old", tags=["x"])
        await cache.invalidate("x")
        store = make_backend()
        await store.delete([f"{namespace}:tag:x"])  # as an eviction does
        await store.close()
        cache._local.clear()
        assert await cache.get("a") is None
        await cache.set("b", "2", tags=["x"])
        assert await cache.get("a") is None
        assert await cache.get("b") == "2"

    async def test_a_value_invalidated_while_it_is_computed_is_not_kept(
        self, cache: Cache, other: Cache
    ) -> None:
        gate = asyncio.Event()
        make = Counter("before", gate=gate)
        waiting = asyncio.create_task(cache.get_or_set("a", make, tags=["x"]))
        await eventually(lambda: make.calls)
        await other.invalidate("x")
        gate.set()
        assert await waiting == "before"
        assert await other.get_or_set("a", Counter("after"), tags=["x"]) == "after"

    async def test_a_value_deleted_while_it_is_computed_is_not_kept(
        self, cache: Cache, other: Cache
    ) -> None:
        gate = asyncio.Event()
        make = Counter("before", gate=gate)
        waiting = asyncio.create_task(cache.get_or_set("a", make))
        await eventually(lambda: make.calls)
        await other.delete("a")
        gate.set()
        assert await waiting == "before"
        assert await other.get("a") is None

    @pytest.mark.parametrize("change", ["invalidate", "delete"])
    async def test_who_asks_after_a_change_is_not_given_what_was_begun_before(
        self, cache: Cache, change: str
    ) -> None:
        gate = asyncio.Event()
        make = Counter("before", gate=gate)
        first = asyncio.create_task(cache.get_or_set("a", make, tags=["x"]))
        await eventually(lambda: make.calls)
        await (cache.invalidate("x") if change == "invalidate" else cache.delete("a"))
        second = asyncio.create_task(cache.get_or_set("a", Counter("after"), tags=["x"]))
        await asyncio.sleep(0)
        gate.set()
        assert await first == "before"
        assert await second == "after"

    # Computing

    async def test_a_hit_is_not_computed(self, cache: Cache, other: Cache) -> None:
        make = Counter([1, 2])
        assert await cache.get_or_set("a", make) == [1, 2]
        assert await other.get_or_set("a", make) == [1, 2]
        assert await cache.get("a") == [1, 2]
        assert make.calls == 1

    async def test_everybody_gets_what_the_store_would_give(self, cache: Cache) -> None:
        assert await cache.get_or_set("a", Counter((1, 2))) == [1, 2]
        assert await cache.get_or_set("a", Counter()) == [1, 2]

    async def test_of_many_in_two_processes_one_computes(self, cache: Cache, other: Cache) -> None:
        gate = asyncio.Event()
        make = Counter("x", gate=gate)
        waiting = [
            asyncio.create_task(c.get_or_set("a", make)) for c in (cache, other) for _ in range(50)
        ]
        await eventually(lambda: make.calls)
        await asyncio.sleep(0.05)
        gate.set()
        assert await asyncio.gather(*waiting) == ["x"] * 100
        assert make.calls == 1

    @pytest.mark.parametrize("cancelled", [0, 5])
    async def test_who_is_cancelled_disturbs_nobody(self, cache: Cache, cancelled: int) -> None:
        gate = asyncio.Event()
        make = Counter("x", gate=gate)
        waiting = [asyncio.create_task(cache.get_or_set("a", make)) for _ in range(10)]
        await eventually(lambda: make.calls)
        waiting.pop(cancelled).cancel()
        gate.set()
        assert await asyncio.gather(*waiting) == ["x"] * 9
        assert make.calls == 1

    async def test_work_is_kept_when_everybody_left(self, cache: Cache) -> None:
        gate = asyncio.Event()
        make = Counter("x", gate=gate)
        waiting = asyncio.create_task(cache.get_or_set("a", make))
        await eventually(lambda: make.calls)
        waiting.cancel()
        gate.set()
        assert await cache.get_or_set("a", make) == "x"
        assert make.calls == 1

    async def test_an_error_reaches_all_and_is_not_cached(self, cache: Cache) -> None:
        make = Counter("x")
        make.error = LookupError("gone")
        failed = await asyncio.gather(
            *(cache.get_or_set("a", make) for _ in range(3)), return_exceptions=True
        )
        assert [type(error) for error in failed] == [LookupError] * 3
        assert make.calls == 1
        make.error = None
        assert await cache.get_or_set("a", make) == "x"

    async def test_a_failed_computation_frees_the_lock(self, cache: Cache, other: Cache) -> None:
        make = Counter()
        make.error = LookupError("gone")
        with pytest.raises(LookupError):
            await cache.get_or_set("a", make)
        async with asyncio.timeout(2):
            assert await other.get_or_set("a", Counter("x")) == "x"

    async def test_the_previous_value_is_served_when_computing_fails(self, cache: Cache) -> None:
        make = Counter("old")
        await cache.get_or_set("a", make, timedelta(milliseconds=50))
        await asyncio.sleep(0.06)
        assert await cache.get("a") is None
        make.error = LookupError("gone")
        assert await cache.get_or_set("a", make, timedelta(milliseconds=50)) == "old"
        assert make.calls == 2
        assert cache.stats().stale == 1

    async def test_an_invalidated_value_is_not_served_when_computing_fails(
        self, cache: Cache
    ) -> None:
        make = Counter("old")
        await cache.get_or_set("a", make, tags=["x"])
        await cache.invalidate("x")
        make.error = LookupError("gone")
        with pytest.raises(LookupError):
            await cache.get_or_set("a", make, tags=["x"])

    async def test_the_lock_of_a_dead_process_is_waited_for_no_longer_than_its_lease(
        self, make_cache: Any, make_backend: Callable[[], Backend], namespace: str
    ) -> None:
        store = make_backend()
        assert await store.add(f"{namespace}:{{a}}:lock", b"dead", 300)
        cache = make_cache(lease=timedelta(milliseconds=300))
        async with asyncio.timeout(3):
            assert await cache.get_or_set("a", Counter("x")) == "x"
        await store.close()

    async def test_long_work_keeps_its_lock(self, make_cache: Any) -> None:
        lease = timedelta(milliseconds=300)
        cache, other = make_cache(lease=lease), make_cache(lease=lease)
        gate = asyncio.Event()
        make = Counter("x", gate=gate)
        waiting = [asyncio.create_task(c.get_or_set("a", make)) for c in (cache, other)]
        await asyncio.sleep(1)
        assert make.calls == 1
        gate.set()
        assert await asyncio.gather(*waiting) == ["x", "x"]
        assert make.calls == 1

    async def test_nobody_waits_for_another_process_without_end(self, make_cache: Any) -> None:
        cache, other = make_cache(), make_cache(patience=timedelta(milliseconds=100))
        gate = asyncio.Event()
        waiting = asyncio.create_task(cache.get_or_set("a", Counter("slow", gate=gate)))
        await asyncio.sleep(0.05)
        assert await other.get_or_set("a", Counter("own")) == "own"
        gate.set()
        assert await waiting == "slow"

    async def test_a_value_is_computed_anew_before_it_expires(self, make_cache: Any) -> None:
        cache = make_cache(random=lambda: 0.999)  # the draw that refreshes early

        async def slow() -> int:
            made.append(len(made))
            await asyncio.sleep(0.05)
            return made[-1]

        made: list[int] = []
        ttl = timedelta(seconds=0.3)  # 0.05 s * ln 1000 is more
        assert await cache.get_or_set("a", slow, ttl) == 0
        assert await cache.get_or_set("a", slow, ttl) == 0  # begins the refresh, waits for nothing
        await eventually(lambda: cache.stats().refreshes == 1 and len(made) == 2)

    # The decorator

    async def test_a_decorated_function_is_computed_once(self, cache: Cache, other: Cache) -> None:
        calls: list[int] = []

        @cache.cached("square:{n}", tags=["squares", "n:{n}"])
        async def square(n: int, *, offset: int = 0) -> int:
            calls.append(n)
            return n * n + offset

        assert [await square(3), await square(n=3), await square(4)] == [9, 9, 16]
        assert calls == [3, 4]
        await other.invalidate("n:3")
        await eventually(lambda: "square:3" not in cache._copies)
        assert [await square(3), await square(4)] == [9, 16]
        assert calls == [3, 4, 3]
        assert square.__name__ == "square"

    # Statistics

    async def test_hits_and_misses_are_counted(self, cache: Cache) -> None:
        await cache.get("a")
        await cache.get_or_set("a", Counter("x"))
        await cache.get("a")
        await cache.get("a")
        await cache.get_or_set("a", Counter("x"))
        stats = cache.stats()
        assert (stats.misses, stats.computations, stats.failures) == (2, 1, 0)
        assert stats.local_hits + stats.store_hits == 3
        assert stats.hit_ratio == 0.6
