"""The filters of the list: an address says everything, and nonsense in it does no harm."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from insight_cloud.app.dashboard import filters
from insight_cloud.app.dashboard.filters import Wanted
from insight_cloud.app.issues.models import Filter
from insight_cloud.app.sarif.model import CATEGORIES, SEVERITIES

ROWS = [("security", 5, 3), ("security", 4, 20), ("style", 1, 40)]
words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20).map(str.strip)
wanted = st.builds(
    Wanted,
    branch=words,
    state=st.sampled_from(["open", "fixed", "all"]),
    severity=st.sets(st.sampled_from(SEVERITIES)).map(
        lambda chosen: tuple(name for name in SEVERITIES if name in chosen)
    ),
    category=st.sampled_from(["", *CATEGORIES]),
    tool=words,
    rule=words,
    path=words,
    q=words,
    suppressed=st.booleans(),
    new_in=st.none() | st.uuids(),
    fixed_in=st.none() | st.uuids(),
    cursor=words,
)


def read(address: str) -> Wanted:
    return filters.parse(QueryParams(address.partition("?")[2]))


@given(wanted)
def test_an_address_is_read_as_it_was_written(one: Wanted) -> None:
    assert read(one.address("/issues")) == one


@given(st.text(max_size=60))
def test_any_address_can_be_read(text: str) -> None:
    filters.parse(QueryParams(text))


def test_what_has_no_meaning_is_left_out() -> None:
    address = "?state=odd&severity=worst&severity=high&category=x&new_in=1&q=a%00b&page=2"
    assert read(address) == Wanted(severity=("high",), q="ab")


def test_the_service_is_asked_what_the_address_says() -> None:
    number = UUID(int=1)
    asked = read(f"?state=all&severity=low&rule=S1&path=src/&q=x&suppressed=1&new_in={number}")
    assert asked.filter == Filter(
        state=None,
        severity=("low",),
        rule="S1",
        path="src/",
        text="x",
        suppressed=True,
        new_in=number,
    )
    assert read("").filter == Filter()


def test_a_total_is_known_only_where_the_kept_counts_say_it() -> None:
    assert filters.total(read(""), ROWS) == 63
    assert filters.total(read("?severity=high&severity=info"), ROWS) == 60
    assert filters.total(read("?category=security"), ROWS) == 23
    assert filters.total(read("?category=security&severity=info&cursor=x"), ROWS) == 0
    assert filters.total(read("?q=x"), ROWS) is None
    assert filters.total(read("?state=fixed"), ROWS) is None
    assert filters.total(read("?suppressed=1"), ROWS) is None


def test_each_filter_can_be_taken_away_alone() -> None:
    asked = read("?severity=high&severity=low&path=src/&q=time&cursor=abc")
    form = filters.form(asked, "/i", rows=ROWS, tools=["ruff"])
    assert [(one.label, one.href) for one in form.active] == [
        ("high", "/i?severity=low&path=src%2F&q=time"),
        ("low", "/i?severity=high&path=src%2F&q=time"),
        ("in src/", "/i?severity=high&severity=low&q=time"),
        ("“time”", "/i?severity=high&severity=low&path=src%2F"),
    ]


def test_the_form_counts_what_is_open_and_nothing_else() -> None:
    form = filters.form(read(""), "/i", rows=ROWS, tools=[])
    assert [(one.value, one.count) for one in form.severities] == [
        ("critical", 3),
        ("high", 20),
        ("medium", 0),
        ("low", 0),
        ("info", 40),
    ]
    assert [(one.value, one.count) for one in form.categories] == [("security", 23), ("style", 40)]
    fixed = filters.form(read("?state=fixed"), "/i", rows=ROWS, tools=[])
    assert {one.count for one in fixed.severities} == {None}
    assert len(fixed.categories) == len(CATEGORIES)
