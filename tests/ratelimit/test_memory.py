from __future__ import annotations

import tracemalloc
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.ratelimit import Memory, Policy
from tests.ratelimit.clocks import Clock

POLICY = Policy("tier", limit=3, window=timedelta(seconds=10))


def test_strangers_never_free_an_exhausted_key() -> None:
    memory = Memory(max_keys=100, clock=Clock())
    for _ in range(3):
        assert memory.hit(POLICY, "victim", 1)
    for number in range(5000):
        memory.hit(POLICY, f"stranger:{number}", 1)
    assert not memory.hit(POLICY, "victim", 1)
    assert len(memory) == 100


def test_keys_beyond_the_bound_share_one_log() -> None:
    memory = Memory(max_keys=10, clock=Clock())
    for number in range(10):
        memory.hit(POLICY, str(number), 1)
    admitted = [bool(memory.hit(POLICY, f"more:{number}", 1)) for number in range(10)]
    assert admitted == [True] * 3 + [False] * 7


def test_keys_whose_window_has_passed_make_room() -> None:
    clock = Clock()
    memory = Memory(max_keys=10, clock=clock)
    for number in range(1000):
        clock.now += 1.5
        assert memory.hit(POLICY, str(number), 1)
        assert len(memory) <= 10


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.sampled_from("abcdefgh"), st.integers(1, 3)), max_size=80
    )
)
def test_no_key_gets_more_than_the_limit_however_crowded_it_is(
    hits: list[tuple[int, str, int]],
) -> None:
    clock = Clock()
    memory = Memory(max_keys=3, clock=clock)
    admitted: dict[str, list[tuple[float, int]]] = {}
    for passed, key, cost in hits:
        clock.now += passed
        if memory.hit(POLICY, key, cost):
            admitted.setdefault(key, []).append((clock.now, cost))
    for given_ in admitted.values():
        for start, _ in given_:
            assert sum(cost for time, cost in given_ if start <= time < start + 10) <= 3


def test_a_full_key_of_a_hundred_permits_takes_at_most_1400_bytes() -> None:
    policy = Policy("tier", limit=100, window=timedelta(hours=1))
    memory = Memory()
    memory.hit(policy, "user:warm", 1)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(1000):
        key = f"ip:203.0.113.{number}"
        for _ in range(101):
            memory.hit(policy, key, 1)
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert used / 1000 <= 1400
