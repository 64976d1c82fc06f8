from __future__ import annotations

import pytest

from insight_cloud.load import text


def test_variables_stand_anywhere() -> None:
    data = {"a": ["${x}", 1, {"b": "${x}-${y}"}], "c": "$x {y}"}
    filled = text.filled_all(data, {"x": "1", "y": "2"})
    assert filled == {"a": ["1", 1, {"b": "1-2"}], "c": "$x {y}"}
    assert text.names_in("${a}${b-c} $d") == {"a", "b-c"}
    with pytest.raises(KeyError):
        text.filled("${z}", {})


@pytest.mark.parametrize(
    ("how", "found"),
    [
        ("json:/a/0/b~1c", "1"),
        ("json:/t", "text"),
        ("json:/a", '[{"b/c": 1}]'),
        ("json:/a/7", None),
        ("json:/t/x", None),
        ("header:location", "/there"),
        ("header:none", None),
        (r"regex:t\": \"(\w+)", "text"),
        ("regex:(nothing)", None),
    ],
)
def test_what_is_kept_of_an_answer(how: str, found: str | None) -> None:
    content = '{"a": [{"b/c": 1}], "t": "text"}'
    assert text.captured(how, content, {"location": "/there"}) == found


def test_an_answer_that_is_no_json_has_nothing() -> None:
    assert text.captured("json:/a", "<html>", {}) is None
