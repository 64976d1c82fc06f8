"""The advisor on real servers: by a shadow, by hypopg, and proved on a clone."""

from __future__ import annotations

import os
import uuid

import psycopg
import pytest

from insight_cloud import tuning
from insight_cloud.core.errors import Missing, Refused
from insight_cloud.core.plan import Change
from insight_cloud.tuning.advisor import hypopg, session, shadow, trial, whatif
from insight_cloud.tuning.advisor.advice import Advice, Advised
from insight_cloud.tuning.advisor.candidates import Candidate
from insight_cloud.tuning.advisor.choice import Budget
from insight_cloud.tuning.facts import Statement
from insight_cloud.tuning.finding import Finding
from insight_cloud.tuning.postgres import connected
from tests import postgres
from tests.tuning.advisor.conftest import STATEMENTS
from tests.tuning.test_catalogue import as_role

WANTED = {("customers", "lower(email)"), ("orders", "customer"), ("orders", "tags")}
OLD = pytest.mark.parametrize("server_url", ["debian"], indirect=True)


async def consult(url: str, server: shadow.Server) -> Advice:
    facts = await tuning.read(url)
    return await session.consult(url, facts, STATEMENTS, Budget(write_share=2), server=server)


def first_keys(advice: Advice) -> set[tuple[str, str]]:
    return {(one.index.table, one.index.keys[0]) for one in advice.indexes}


async def everything(url: str) -> object:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        rows = await connection.execute(
            "select relname, relpages, reltuples from pg_class where relnamespace ="
            " 'public'::regnamespace order by 1"
        )
        return await rows.fetchall()


async def test_the_shadow_finds_what_the_shop_needs_and_touches_nothing(
    shop: str, shadow_server: shadow.Server
) -> None:
    before = await everything(shop)
    advice = await consult(shop, shadow_server)
    assert advice.by == "shadow"
    assert first_keys(advice) >= WANTED
    assert len(advice.indexes) <= 6
    assert advice.ratio > 5
    assert not advice.unplanned
    assert await everything(shop) == before


@OLD
async def test_hypopg_comes_to_the_same_without_a_shadow(
    server_url: str, shop: str, shadow_server: shadow.Server
) -> None:
    without = await consult(shop, shadow_server)
    async with await psycopg.AsyncConnection.connect(shop, autocommit=True) as connection:
        try:
            await connection.execute("create extension hypopg")
        except psycopg.Error as error:
            reason = f"hypopg is not installed (apt-get install postgresql-15-hypopg): {error}"
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    advice = await consult(shop, shadow_server)
    assert advice.by == "hypopg"
    assert first_keys(advice) >= WANTED
    total, other = (sum(one.after.values()) for one in (advice, without))
    assert total == pytest.approx(other, rel=0.3)  # small tables: a page is a lot


@OLD
async def test_hypothetical_costs_are_those_of_real_indexes(
    server_url: str, shop: str, shadow_server: shadow.Server
) -> None:
    """The heart of the shadow: a plan there is the plan here, once the indexes are built."""
    wanted = [
        Candidate("public", "orders", ("customer", "placed")),
        Candidate("public", "orders", ("placed",), predicate="((status)::text = 'open'::text)"),
        Candidate("public", "orders", ("placed",)),
    ]
    texts = [one.text for one in STATEMENTS[::2]]
    async with shadow.opened(shop, shadow_server) as what:
        sizes = await what.offer(wanted)
        await what.show(frozenset(wanted))
        supposed = [(await what.explain(text))["Total Cost"] for text in texts]
    async with connected(shop) as link:
        for one in wanted:
            await link.rows(f"create index {one.name} {one.on}")
        real = [(await whatif.explain(link, text))["Total Cost"] for text in texts]
        for one in wanted:
            size = await link.value("select pg_relation_size(to_regclass(%s))", [one.title])
            assert sizes[one] == pytest.approx(size, rel=0.3, abs=16_384)
    assert supposed == pytest.approx(real, rel=0.25)


@OLD
async def test_after_the_advice_is_applied_there_is_none(
    server_url: str, shop: str, shadow_server: shadow.Server
) -> None:
    findings = session.findings((await consult(shop, shadow_server)).indexes)
    await tuning.apply(shop, tuning.plan(findings), lock_seconds=30)
    again = await consult(shop, shadow_server)
    assert not [one for one in session.findings(again.indexes) if one.severity == "warn"]


@OLD
async def test_a_role_that_may_not_read_the_tables_is_told_what_is_missing(
    server_url: str, shop: str, shadow_server: shadow.Server
) -> None:
    role = f"looker_{uuid.uuid4().hex}"
    async with await psycopg.AsyncConnection.connect(shop, autocommit=True) as connection:
        await connection.execute(f"create role {role} login".encode())
        try:
            with pytest.raises(Refused, match="pg_read_all_data"):
                await consult(as_role(shop, role), shadow_server)
        finally:
            await connection.execute(f"drop role {role}".encode())


@OLD
async def test_a_clone_proves_the_advice_and_is_left_as_it_was(
    shop: str, server_url: str, shadow_server: shadow.Server
) -> None:
    advice = await consult(shop, shadow_server)
    async with postgres.database(
        server_url, template=shop.partition("?")[0].rpartition("/")[2]
    ) as clone:
        before = await everything(clone)
        found = await trial.confirm(shop, clone, STATEMENTS, advice)
        names = [row[0] for row in before]  # type: ignore[attr-defined]
        assert [row[0] for row in await everything(clone)] == names  # type: ignore[attr-defined]
    assert set(found.before) == set(found.after)
    assert found.ratio > 2
    assert {one.name for one in found.kept} | set(found.dropped) == {
        one.index.name for one in advice.indexes
    }


async def test_what_runs_out_of_time_on_the_clone_keeps_the_index_that_it_would_use(
    shop: str, postgres_url: str
) -> None:
    """Else the statements that need an index most would be those that cost it."""
    slow = Statement("select pg_sleep(0.3) from orders where customer = 77 limit 1", 1, 0)
    one = Advised(Candidate("public", "orders", ("customer",)), 1, 0.5, ())
    advice = Advice((one,), {}, {}, {}, "shadow", 0)
    async with postgres.database(postgres_url) as empty:
        # Here the shop itself is what may be changed, and the other one what serves.
        found = await trial.confirm(empty, shop, [slow], advice, seconds=0.1)
    assert found.kept == (one.index,)
    assert not found.unmeasured


async def test_the_database_itself_is_refused_as_its_clone(shop: str) -> None:
    advice = Advice((), {}, {}, {}, "shadow", 0)
    with pytest.raises(Refused, match="is the database itself"):
        await trial.confirm(shop, shop, STATEMENTS, advice)


@pytest.mark.parametrize(
    "text",
    [
        "select * from orders where customer = $1",
        "select 1 from orders where placed > timestamptz $1",
    ],
)
async def test_a_statement_without_its_values_can_be_planned(shop: str, text: str) -> None:
    async with connected(shop) as link:
        assert (await whatif.explain(link, text))["Total Cost"] > 0


async def test_without_the_extension_hypopg_says_so(postgres_url: str) -> None:
    with pytest.raises(Missing, match="hypopg"):
        async with hypopg.opened(postgres_url):
            pass


def test_an_advised_index_that_serves_a_foreign_key_is_not_made_twice() -> None:
    index = Candidate("public", "orders", ("customer", "placed"))
    key = Finding(
        "foreign_key.unindexed",
        "public.orders.orders_customer_fkey",
        "…",
        evidence={"columns": ("customer",)},
        changes=(Change("create", "public.i", after="create index i"),),
    )
    found = session.reconciled([key], [Advised(index, 1, 0.5, ("q",))])
    assert [len(one.changes) for one in found] == [0, 1]
