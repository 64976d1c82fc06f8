"""The plan of a deployment, for whatever was deployed and whatever is wanted."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.cdn import File, Record, plan, urls
from insight_cloud.cdn.deployment import Deployment
from insight_cloud.cdn.record import EMPTY, decode, encode
from insight_cloud.core.storage import Attributes
from tests.cdn.sites import NOW

KEEP = timedelta(days=30)
BASE = "https://example.com"


def file(path: str, content: int = 0, *, cache: str = "max-age=0") -> File:
    hashed = path.startswith("h")
    return File(
        path,
        Path(path),
        f"{content if not hashed else 0:064}",
        10 + (0 if hashed else content),
        Attributes("text/plain", cache),
        hashed=hashed,
        page=path.startswith("p"),
    )


PATHS = st.sampled_from(["h1", "h2", "h3", "o1", "o2", "p1", "p2", "p/index.html"])
BUILDS = st.dictionaries(PATHS, st.integers(0, 3), min_size=1).map(
    lambda chosen: [file(path, content) for path, content in chosen.items()]
)


def applied(deployment: Deployment, sizes: dict[str, int]) -> dict[str, int]:
    """The objects after a deployment."""
    after = {**sizes, **{one.path: one.size for one in deployment.uploads}}
    return {path: size for path, size in after.items() if path not in deployment.removed}


@given(st.lists(st.tuples(BUILDS, st.integers(0, 40)), min_size=1, max_size=6))
def test_after_apply_the_plan_is_empty(steps: list[tuple[list[File], int]]) -> None:
    record, sizes, now = EMPTY, dict[str, int](), NOW
    for wanted, days in steps:
        now += timedelta(days=days)
        deployment = plan(wanted, record, sizes, now, keep=KEEP, base_url=BASE)
        if not deployment.changes:
            continue
        sizes = applied(deployment, sizes)
        record = decode(encode(deployment.after), "here")
        assert record.files.keys() == sizes.keys()
        purged = Record(deployed=record.deployed, files=record.files)
        again = plan(wanted, purged, sizes, now, keep=KEEP, base_url=BASE)
        assert str(again.changes) == "nothing to do"
        record = purged


@given(BUILDS, BUILDS, st.integers(0, 60))
def test_hashed_files_stay_for_their_days(first: list[File], second: list[File], days: int) -> None:
    start = plan(first, EMPTY, {}, NOW, keep=KEEP)
    sizes = applied(start, {})
    left = plan(second, start.after, sizes, NOW, keep=KEEP)
    sizes = applied(left, sizes)
    later = plan(second, left.after, sizes, NOW + timedelta(days=days), keep=KEEP)
    unused = {f.path for f in first if f.hashed} - {f.path for f in second}
    assert not unused & set(left.removed)
    assert set(later.removed) == (unused if days >= 30 else set())


@given(BUILDS, BUILDS)
def test_only_what_changed_is_sent_and_only_that_is_purged(
    first: list[File], second: list[File]
) -> None:
    start = plan(first, EMPTY, {}, NOW, keep=KEEP, base_url=BASE)
    assert start.changed == ()
    sizes = applied(start, {})
    step = plan(second, start.after, sizes, NOW, keep=KEEP, base_url=BASE)
    before = {one.path: one for one in first}
    different = {one.path for one in second if before.get(one.path) != one}
    gone = {path for path, one in before.items() if not one.hashed} - {f.path for f in second}
    assert {one.path for one in step.uploads} == different
    assert set(step.changed) == set(urls(BASE, (different & before.keys()) | gone))


@given(BUILDS, BUILDS, st.data())
def test_after_a_cut_anywhere_every_file_is_right_in_the_end(
    first: list[File], second: list[File], data: st.DataObject
) -> None:
    """Cut off while `second` was sent, then either build is deployed: nothing of both remains."""
    start = plan(first, EMPTY, {}, NOW, keep=KEEP)
    sizes = applied(start, {})
    step = plan(second, start.after, sizes, NOW, keep=KEEP)
    there = {one.path: one.sha256 for one in first}
    cut = data.draw(st.integers(0, len(step.uploads)))
    for one in step.uploads[:cut]:
        there[one.path], sizes[one.path] = one.sha256, one.size
    pending = {one.path: step.after.files[one.path] for one in step.uploads}
    record = Record(
        deployed=NOW, files=start.after.files, pending=pending, begun=data.draw(NOW_OR_NONE)
    )
    wanted = data.draw(st.sampled_from([first, second]))
    last = plan(wanted, record, sizes, NOW, keep=KEEP)
    for one in last.uploads:
        there[one.path] = one.sha256
    assert all(there[one.path] == one.sha256 for one in wanted)
    assert not plan(wanted, last.after, applied(last, sizes), NOW, keep=KEEP).changes


NOW_OR_NONE = st.sampled_from([None, NOW])


def reasons(changes: Iterable[object]) -> list[str]:
    return [str(change) for change in changes]


def test_each_change_has_its_reason() -> None:
    first = [file("h1"), file("o1"), file("o2"), file("o3"), file("p1"), file("p2")]
    start = plan(first, EMPTY, {}, NOW, keep=KEEP)
    sizes = applied(start, {})
    del sizes["o2"]
    sizes["o3"] += 1
    second = [file("h2"), file("o1", 1), file("o2"), file("o3"), file("p1", cache="no-store")]
    step = plan(second, start.after, sizes, NOW, keep=KEEP, base_url=BASE)
    assert reasons(step.changes) == [
        "+ h2  (new)",
        "~ o1  (the content changed)",
        "+ o2  (it is not there any more)",
        "~ o3  (somebody else replaced it)",
        "~ p1  (the headers changed)",
        "~ h1  (not used any more; kept until 2026-12-25)",
        "- p2  (not in the build any more)",
        "* purge 4 addresses",
    ]


def test_the_order_is_hashed_then_others_then_pages() -> None:
    deployment = plan([file("p1"), file("o1"), file("h1")], EMPTY, {}, NOW, keep=KEEP)
    assert [one.path for one in deployment.uploads] == ["h1", "o1", "p1"]


def test_an_index_is_purged_under_both_of_its_addresses() -> None:
    assert urls("https://example.com/site/", ["index.html", "a b/index.html", "x/ü.txt"]) == (
        "https://example.com/site/index.html",
        "https://example.com/site/",
        "https://example.com/site/a%20b/index.html",
        "https://example.com/site/a%20b/",
        "https://example.com/site/x/%C3%BC.txt",
    )


def test_what_others_put_there_is_left_alone() -> None:
    deployment = plan([file("p1")], EMPTY, {"theirs": 5}, NOW, keep=KEEP)
    assert "theirs" not in deployment.removed
