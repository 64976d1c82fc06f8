from __future__ import annotations

from collections.abc import Sequence

from insight_cloud.tuning.advisor.accesses import Access, Order, accesses
from insight_cloud.tuning.advisor.candidates import Candidate, Column, candidates
from insight_cloud.tuning.advisor.conditions import conditions

KNOWN = {
    "id": Column("integer", 4, -1),
    "customer": Column("integer", 4, 5000),
    "status": Column("text", 6, 4, 0, (("done", 0.9), ("open", 0.02), ("new", 0.08))),
    "placed": Column("timestamp with time zone", 8, -0.9),
    "note": Column("text", 200, -1),
    "tags": Column("text[]", 40, -0.1),
    "data": Column("jsonb", 100, -0.5),
    "gone": Column("date", 4, 100, 0.98),
}


def made(
    filters: str,
    *,
    orders: Sequence[Order] = (),
    columns: Sequence[str] = ("note",),
    plain: bool = True,
    trigrams: bool = False,
) -> set[str]:
    access = Access("o", "public", "orders", 10, 1000, conditions(filters), [], set(columns))
    if orders:
        access.orders.append(tuple(orders))
    known = {("public", "orders"): KNOWN}
    found = candidates([access], known, plain_prefixes=plain, trigrams=trigrams)
    return {one.on.partition("using ")[2] for one in found}


def test_equalities_stand_before_a_range_and_before_an_order() -> None:
    found = made("((o.placed > '2025-01-01'::date) AND (o.customer = 1))")
    assert "btree (customer, placed)" in found
    found = made("(o.customer = 1)", orders=[Order("placed", descending=True, nulls_first=True)])
    assert "btree (customer, placed)" in found


def test_an_order_of_two_directions_keeps_them() -> None:
    orders = [Order("customer", descending=True, nulls_first=True), Order("placed")]
    assert "btree (customer, placed desc)" in made("(o.status = 'open'::text)", orders=orders)


def test_a_rare_constant_makes_a_partial_index_and_a_frequent_one_does_not() -> None:
    rare = made("((o.status = 'open'::text) AND (o.customer = 1))")
    assert "btree (customer) where (status = 'open'::text)" in rare
    frequent = made("((o.status = 'done'::text) AND (o.customer = 1))")
    assert not any("where" in one for one in frequent)
    unknown = made("((o.status = $1) AND (o.customer = 1))")
    assert not any("where" in one for one in unknown)


def test_the_few_rows_with_or_without_a_value_make_a_partial_index() -> None:
    filters = "((o.gone IS NOT NULL) AND (o.customer = 1))"
    assert "btree (customer) where (gone IS NOT NULL)" in made(filters)


def test_a_prefix_needs_an_operator_class_where_the_order_is_not_that_of_bytes() -> None:
    assert "btree (note)" in made("(o.note ~~ 'src/%'::text)")
    assert "btree (note text_pattern_ops)" in made("(o.note ~~ 'src/%'::text)", plain=False)


def test_members_ask_for_gin_and_patterns_for_trigrams_where_there_are_some() -> None:
    assert "gin (tags)" in made("(o.tags @> '{x}'::text[])")
    assert "gin (data jsonb_path_ops)" in made("(o.data @> '{}'::jsonb)")
    pattern = "(o.note ~~* '%abc%'::text)"
    assert "gin (note gin_trgm_ops)" in made(pattern, trigrams=True)
    assert not made(pattern)


def test_an_expression_is_a_key_unless_its_value_changes_by_itself() -> None:
    assert "btree (lower(note))" in made("(lower(o.note) = 'x'::text)")
    assert not made("(to_char(o.placed, 'YYYY'::text) = '2025'::text)")


def test_few_narrow_columns_are_included_and_wide_ones_are_not() -> None:
    assert "btree (customer) include (placed)" in made("(o.customer = 1)", columns=["placed"])
    assert not any("include" in one for one in made("(o.customer = 1)", columns=["note"]))


def test_an_index_covers_another_that_is_its_beginning() -> None:
    long = Candidate("public", "orders", ("customer", "placed"))
    assert long.covers(Candidate("public", "orders", ("customer",)))
    assert not long.covers(Candidate("public", "orders", ("placed",)))
    assert not long.covers(Candidate("public", "orders", ("customer",), predicate="(id > 1)"))


def test_a_minimum_is_an_order_and_a_view_is_seen_through() -> None:
    plan = {
        "Node Type": "Aggregate",
        "Output": ["max(o.placed)"],
        "Plans": [
            {
                "Node Type": "Seq Scan",
                "Schema": "public",
                "Relation Name": "orders",
                "Alias": "o",
                "Plan Rows": 5,
                "Total Cost": 10.0,
                "Filter": "(o.customer = 1)",
            }
        ],
    }
    (access,) = accesses(plan)
    assert access.orders == [(Order("placed"),)]
    assert [condition.key for condition in access.conditions] == ["customer"]
