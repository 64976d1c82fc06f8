"""One consultation: hypopg where the database has it, a shadow where it has not."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from insight_cloud.core.plan import Change
from insight_cloud.tuning.advisor import hypopg, shadow, whatif
from insight_cloud.tuning.advisor.advice import Advice, Advised, Tables, advise
from insight_cloud.tuning.advisor.choice import Budget
from insight_cloud.tuning.facts import Facts, Statement, quoted
from insight_cloud.tuning.finding import Finding
from insight_cloud.tuning.postgres import connected

__all__ = ["consult", "findings", "reconciled"]

_WORTH_A_WORD = 0.01


async def consult(
    url: str,
    facts: Facts,
    statements: Sequence[Statement],
    budget: Budget,
    *,
    server: shadow.Server,
) -> Advice:
    """Ask what indexes `statements` need. Nothing is changed in the database at `url`.

    Raises:
        Refused: we may not read the tables, which planning needs.
        Unavailable: the shadow's server does not start.
    """
    async with connected(url) as link:
        tables = Tables.of(facts, await whatif.columns_of(link))
    opened: AbstractAsyncContextManager[whatif.WhatIf] = (
        hypopg.opened(url) if "hypopg" in facts.server.extensions else shadow.opened(url, server)
    )
    async with opened as what:
        return await advise(statements, tables, what, budget)


def findings(advised: Sequence[Advised]) -> list[Finding]:
    """Each advised index as a finding with its change."""
    return [_finding(one) for one in advised]


def _finding(one: Advised) -> Finding:
    changes: tuple[Change, ...] = one.changes()
    example = one.queries[0] if one.queries else ""
    return Finding(
        "index.missing",
        one.index.title,
        f"would save {one.gain:.1%} of the workload",
        "warn" if one.gain >= _WORTH_A_WORD else "advice",
        evidence={
            "index": one.index.on,
            "bytes": one.bytes,
            "statements": len(one.queries),
            "for example": example,
        },
        changes=changes,
    )


def reconciled(found: Sequence[Finding], advised: Sequence[Advised]) -> list[Finding]:
    """The findings and the advice, without a foreign key's index that an advised one replaces."""
    leads = {(quoted(o.index.schema, o.index.table), o.index.keys) for o in advised if _is_plain(o)}
    kept = []
    for one in found:
        columns = one.evidence.get("columns", ())
        table = one.target.rpartition(".")[0]
        if one.kind == "foreign_key.unindexed" and any(
            table == where and set(keys[: len(columns)]) == set(columns) for where, keys in leads
        ):
            one = replace(one, changes=(), remedy="an advised index serves it too")  # noqa: PLW2901 - the same finding, settled
        kept.append(one)
    return [*kept, *findings(advised)]


def _is_plain(one: Advised) -> bool:
    return one.index.method == "btree" and not one.index.predicate
