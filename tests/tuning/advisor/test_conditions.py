from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.tuning.advisor.conditions import conditions, references, unqualified


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("(o.customer = 17)", [("o", "customer", "equal", "17")]),
        ("((o.status)::text = 'open'::text)", [("o", "status", "equal", "'open'::text")]),
        ("(17 < o.customer)", [("o", "customer", "range", "17")]),
        ("(lower(u.email) = 'a@b'::text)", [("u", "lower(email)", "equal", "'a@b'::text")]),
        (
            "((a.detail ->> 'request'::text) = 'r1'::text)",
            [("a", "detail ->> 'request'::text", "equal", "'r1'::text")],
        ),
        (
            "((o.a = 1) AND (o.b >= '2025-01-01'::date))",
            [("o", "a", "equal", "1"), ("o", "b", "range", "'2025-01-01'::date")],
        ),
        ("(o.deleted IS NULL)", [("o", "deleted", "null", "")]),
        ("(NOT p.archived)", [("p", "archived", "true", "")]),
        ("p.archived", [("p", "archived", "true", "")]),
        ("(o.a = ANY ('{1,2}'::integer[]))", [("o", "a", "among", "ANY ('{1,2}'::integer[])")]),
        ("(f.path ~~ 'src/%'::text)", [("f", "path", "prefix", "'src/%'::text")]),
        ("(f.path ~~* '%abc%'::text)", [("f", "path", "pattern", "'%abc%'::text")]),
        ("(f.tags @> '{x}'::text[])", [("f", "tags", "member", "'{x}'::text[]")]),
        ("(r.id = f.run)", [("r", "id", "join", ""), ("f", "run", "join", "")]),
        ("(r.at < f.at)", [("r", "at", "range", ""), ("f", "at", "range", "")]),
        ("(o.a = $1)", [("o", "a", "equal", "")]),
        ('("Odd one"."a b" = 1)', [('"Odd one"', '"a b"', "equal", "1")]),
        ("(o.note = 'it''s (x AND y)'::text)", [("o", "note", "equal", "'it''s (x AND y)'::text")]),
    ],
)
def test_a_condition_is_read_as_the_planner_writes_it(
    text: str, found: list[tuple[str, str, str, str]]
) -> None:
    assert [(c.alias, c.key, c.kind, c.value) for c in conditions(text)] == found


@pytest.mark.parametrize(
    "text",
    [
        "(NOT (hashed SubPlan 1))",
        "(o.a <> 1)",
        "(f.path ~~ '%'::text)",
        "(o.a = o.b)",
        "(o.a <> ALL ('{1}'::integer[]))",
        "true",
        "",
    ],
)
def test_what_no_index_answers_is_passed_over(text: str) -> None:
    assert conditions(text) == []


def test_the_arms_of_an_or_are_alternatives() -> None:
    found = conditions("((o.a = 1) OR (o.b = 2))")
    assert [(c.key, c.alternative) for c in found] == [("a", True), ("b", True)]


def test_a_condition_of_constants_can_stand_in_a_partial_index() -> None:
    (fixed,) = conditions("((o.status)::text = 'open'::text)")
    assert fixed.text == "(status)::text = 'open'::text"
    (open_,) = conditions("(o.status = $1)")
    assert not open_.text


def test_names_inside_of_strings_are_no_references() -> None:
    assert references("(lower(u.email) = 'x.y'::text)") == {"u"}
    assert unqualified("(lower(u.email) = 'x.y'::text)") == "(lower(email) = 'x.y'::text)"


@given(st.text("()'\"$. aANDOR=<>~:1", max_size=60))
def test_no_text_makes_it_stumble(text: str) -> None:
    assert isinstance(conditions(text), list)
