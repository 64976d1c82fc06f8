from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.core.errors import Corrupt
from insight_cloud.launch.conditions import bound, fill, judge, parse

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)
DATA: dict[str, Any] = {
    "status": 200,
    "flag": True,
    "rows": [{"id": 1, "ok": True}, {"id": 2, "ok": False}],
    "none": [],
    "named": [{"role": "dns", "reach": "a@b.c"}, {"role": "edge", "reach": ""}],
    "text": "max-age=60, no-store",
    "digests": ["a", "a"],
    "at": (NOW - timedelta(hours=3)).isoformat(),
    "until": (NOW + timedelta(days=10)).isoformat(),
    "limit": 10,
    "null": None,
}


def holds(text: str, data: Any = DATA) -> bool:
    return judge(parse(text), data, now=NOW).holds


@pytest.mark.parametrize(
    "text",
    [
        "status == 200",
        "status in [200, 204]",
        "flag == true",
        "rows/0/ok == true",
        "rows/-1/id == 2",
        "rows/*/id < 3",
        "rows/1:/ok == false",
        "none/*?/x == 1",
        'named/[role=dns]/reach ~ "@"',
        'text ~ "no-store"',
        'text !~ "immutable"',
        "missing? == 1",
        "missing absent",
        "null? == 1",
        "digests same",
        "status >= 2 * &limit",
        "age at < 4h",
        "age at > 2h",
        "age until < -9d",
        'digests has "a"',
        'digests !has "b"',
        "at exists",
    ],
)
def test_a_condition_holds(text: str) -> None:
    assert holds(text)


@pytest.mark.parametrize(
    "text",
    [
        "status == 201",
        "flag == 1",
        "status == true",
        "rows/*/ok == true",
        "rows/5/ok == true",
        "none/*/x == 1",
        "missing/*?/x == 1",
        "missing == 1",
        "missing != 1",
        "null == 1",
        'missing !~ "x"',
        'named/[role=edge]/reach ~ "@"',
        "named/[role=payment]/reach exists",
        "status > 3 * &status",
        "status == &nowhere",
        "text < 5",
        "age at < 2h",
        "age text < 2h",
        "age until < -11d",
        "digests/0 same",
        "status absent",
    ],
)
def test_a_condition_does_not_hold(text: str) -> None:
    found = judge(parse(text), DATA, now=NOW)
    assert not found.holds
    assert found.found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "status",
        "status ==",
        "status is 200",
        "status == two",
        'a ~ "("',
        "age at < 4",
        "a same 1",
    ],
)
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(Corrupt, match=r"condition|JSON|duration"):
        parse(text)


def test_values_are_filled_in_whole_or_as_text() -> None:
    values = {"path": "/health", "wanted": [1, 2], "hours": 4, "rule": "a b"}
    filled = fill({"a": "{wanted}", "b": ["x{path}"], "c": "x{40}"}, values.__getitem__)
    assert filled == {"a": [1, 2], "b": ["x/health"], "c": "x{40}"}
    condition = bound(parse("age list/[name={rule}]/at < {hours}h"), values.__getitem__)
    data = {"list": [{"name": "a b", "at": DATA["at"]}]}
    assert judge(condition, data, now=NOW).holds
    assert holds("status == {x}") is False


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_whatever_was_found_there_is_an_answer(data: Any) -> None:
    for text in (
        "a/*/b == 1",
        'a/0 ~ "x"',
        "age a < 4h",
        "*/b > 2 * &a",
        "[a=b]/c exists",
        "0:/x in [1]",
    ):
        assert judge(parse(text), data, now=NOW).found


@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(allow_nan=False, allow_infinity=False),
)
def test_numbers_are_compared_as_numbers(one: float, other: float) -> None:
    assert judge(parse(f"a < {other!r}"), {"a": one}, now=NOW).holds == (one < other)
