"""Our grade beside SSL Labs' guide and testssl.sh, on real servers."""

from __future__ import annotations

import pytest

from insight_cloud.tls import prober, rating
from tests.tls import authority
from tests.tls.authority import NOW
from tests.tls.configurations import ALL, Configuration


def test_there_are_enough_of_them() -> None:
    assert len(ALL) >= 20
    assert len({one.name for one in ALL}) == len(ALL)
    assert {one.letter for one in ALL} >= {"A+", "A", "A-", "B", "C", "F", "M", "T"}


@pytest.mark.parametrize("wanted", ALL, ids=lambda one: one.name.replace(" ", "-"))
async def test_the_grade_is_the_guide_s(wanted: Configuration) -> None:
    with wanted.serve() as port:
        found = await prober.probe("localhost", port, address="127.0.0.1")
    grade = rating.rate(found, now=NOW, roots=[authority.root().certificate])
    assert (grade.letter, wanted.score or grade.score) == (wanted.letter, grade.score), grade
    assert grade.letter == wanted.testssl or wanted.why, "a difference needs its reason"
