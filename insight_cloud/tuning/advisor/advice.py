"""The advisor: from a workload and a planner that is asked "what if" to a few indexes.

Candidates come from each query's plan. They are shown to the planner together, the ones it
takes are hidden and it is asked again: what it chooses in one of three rounds is worth a place
in the search, which then looks for the set that is best for all queries under a budget.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from insight_cloud.core.errors import InsightError
from insight_cloud.core.plan import Change
from insight_cloud.tuning.advisor.accesses import Access, accesses, nodes
from insight_cloud.tuning.advisor.candidates import Candidate, Columns, candidates
from insight_cloud.tuning.advisor.choice import Budget, Chosen, choose
from insight_cloud.tuning.advisor.conditions import unqualified
from insight_cloud.tuning.advisor.whatif import WhatIf, size_bytes
from insight_cloud.tuning.facts import Facts, Statement, quoted

__all__ = ["Advice", "Advised", "Tables", "advise"]

_ROUNDS = 3
_ENOUGH = 0.95
_SMALL_COST = 30.0
"""A plan this cheap has nothing to gain."""
_RANDOM_PAGE = 4.0
_TABLE_WRITE = 6
"""What writing a row costs without indexes, in b-tree insertions, the log included."""


@dataclass(frozen=True, slots=True)
class Tables:
    """What the advisor knows of the tables, by schema and name."""

    columns: Columns
    rows: Mapping[tuple[str, str], float]
    bytes: Mapping[tuple[str, str], int]
    indexes: Mapping[tuple[str, str], int]
    """How many indexes there are already."""
    written: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Rows written since the statistics count."""
    trigrams: bool = False
    taken: frozenset[str] = frozenset()
    """The definitions of existing indexes, as `Candidate.on` writes them."""

    @classmethod
    def of(cls, facts: Facts, columns: Columns) -> Tables:
        """Take them from what was read of the database."""
        names = {table.oid: (table.schema, table.name) for table in facts.tables}
        on = [index.definition.partition(" ON ")[2].lower() for index in facts.indexes]
        return cls(
            columns,
            {names[table.oid]: table.size for table in facts.tables},
            {names[table.oid]: table.bytes for table in facts.tables},
            Counter(names[one.table] for one in facts.indexes if one.table in names),
            {names[table.oid]: table.written for table in facts.tables},
            trigrams="pg_trgm" in facts.server.extensions,
            taken=frozenset(f"on {text}" for text in on),
        )


@dataclass(frozen=True, slots=True)
class Advised:
    """One index, why, and for what."""

    index: Candidate
    bytes: int
    gain: float
    """The share of the workload's cost that it saves."""
    queries: tuple[str, ...]

    def change(self) -> Change:
        """The statement that makes it, and the one that takes it back."""
        one = self.index
        helped = f"{len(self.queries)} statements" if len(self.queries) > 1 else "1 statement"
        return Change(
            "create",
            one.title,
            before=f"drop index concurrently if exists {one.title}",
            after=f"create index concurrently {quoted(one.name)} {one.on}",
            reason=f"saves {self.gain:.1%} of the workload, for {helped}",
        )

    def changes(self) -> tuple[Change, ...]:
        """The same, and the analysis without which an expression's values are unknown."""
        table = quoted(self.index.schema, self.index.table)
        analysis = Change("run", table, after=f"analyze {table}", reason="it has a new expression")
        return (self.change(), analysis) if "(" in "".join(self.index.keys) else (self.change(),)


@dataclass(frozen=True, slots=True)
class Advice:
    """What the advisor found. Costs are the planner's, weighted by how often a query comes."""

    indexes: tuple[Advised, ...]
    before: Mapping[str, float]
    after: Mapping[str, float]
    unplanned: Mapping[str, str]
    """Statements that could not be planned, and why."""
    by: str
    seconds: float

    @property
    def ratio(self) -> float:
        """How many times cheaper the workload becomes, by the planner's reckoning."""
        return sum(self.before.values()) / max(1e-9, sum(self.after.values()))

    def as_dict(self) -> dict[str, Any]:
        """The same data for `--json` and reports."""
        return {
            "by": self.by,
            "seconds": round(self.seconds, 2),
            "times_cheaper": round(self.ratio, 2),
            "unplanned": dict(self.unplanned),
            "indexes": [
                {
                    "index": one.change().after,
                    "undo": one.change().before,
                    "bytes": one.bytes,
                    "gain": round(one.gain, 4),
                    "statements": list(one.queries),
                }
                for one in self.indexes
            ],
        }


@dataclass(slots=True)
class _Query:
    name: str
    text: str
    weight: float
    plan: dict[str, Any]
    found: list[Access]
    candidates: list[Candidate] = field(default_factory=list)

    def asks_for(self, one: Candidate) -> bool:
        """Whether the query has a use for the index's first key.

        PostgreSQL 18 can skip a first key that is not asked for, older servers cannot, and a
        shadow is always an 18: so that is never counted on.
        """
        first = _bare(one.keys[0])
        for access in self.found:
            if (access.schema, access.table) != (one.schema, one.table):
                continue
            if any(condition.key == first for condition in access.conditions):
                return True
            if any(order[0].key == first for order in access.orders):
                return True
        return False


def _bare(key: str) -> str:
    """The column or expression of a key, without what `CREATE INDEX` wants around it."""
    key = re.sub(r"( \w+_ops| desc| nulls (?:first|last))+$", "", key)
    return key[1:-1] if key.startswith("(") and key.endswith(")") else key


async def advise(
    statements: Sequence[Statement],
    tables: Tables,
    whatif: WhatIf,
    budget: Budget,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Advice:
    """Propose indexes for `statements`; nothing is changed."""
    began = clock()
    queries, unplanned = await _planned(statements, whatif)
    for query in queries:
        query.candidates = [
            one
            for one in candidates(
                query.found,
                tables.columns,
                plain_prefixes=whatif.collation in {"C", "POSIX"},
                trigrams=tables.trigrams,
            )
            if one.on.lower() not in tables.taken
        ]
    every = dict.fromkeys(one for query in queries for one in query.candidates)
    sizes = await whatif.offer(every)
    sizes |= _inverted_sizes(every, sizes, tables)
    relevant = await _worthwhile(queries, sizes, whatif)
    costs = _Costs(queries, whatif, tables)
    writes = {one: _write_share(one, tables) for one in relevant}
    chosen = await choose(
        [query.name for query in queries],
        relevant,
        costs,
        sizes=sizes,
        writes=writes,
        budget=budget,
        clock=clock,
    )
    advised = await _explained(chosen, sizes, relevant, costs)
    return Advice(
        tuple(advised), chosen.before, chosen.after, unplanned, whatif.name, clock() - began
    )


async def _planned(
    statements: Sequence[Statement], whatif: WhatIf
) -> tuple[list[_Query], dict[str, str]]:
    """The plan of each statement without any new index."""
    queries: list[_Query] = []
    unplanned: dict[str, str] = {}
    await whatif.show(frozenset())
    for number, statement in enumerate(statements):
        name = f"{number + 1}: {' '.join(statement.text.split())[:100]}"
        text = statement.samples[0] if statement.samples else statement.text
        try:
            plan = await whatif.explain(text.rstrip().rstrip(";"))
        except InsightError as error:
            unplanned[name] = str(error)[:300]
            continue
        cost = max(float(plan["Total Cost"]), 0.01)
        # Where it was measured, time is shared out by cost; else calls alone count.
        weight = statement.total_ms / cost if statement.total_ms else float(statement.calls)
        if cost > _SMALL_COST:
            queries.append(_Query(name, text.rstrip().rstrip(";"), weight, plan, accesses(plan)))
    return queries, unplanned


def _inverted_sizes(
    every: Iterable[Candidate], sizes: Mapping[Candidate, int], tables: Tables
) -> dict[Candidate, int]:
    """Sizes of those of another method than b-tree that could not be made possible."""
    found = {}
    for one in every:
        if one.method == "gin" and one not in sizes:
            table = (one.schema, one.table)
            found[one] = size_bytes(one, tables.columns[table], tables.rows.get(table, 0))
    return found


async def _worthwhile(
    queries: Sequence[_Query], sizes: Mapping[Candidate, int], whatif: WhatIf
) -> dict[Candidate, frozenset[str]]:
    """What the planner takes in one of some rounds, with the queries that it concerns."""
    taken: dict[Candidate, None] = {}
    for query in queries:
        open_ones = {one for one in query.candidates if one in sizes}
        ruled = {one for one in open_ones if one.method == "gin"}
        taken |= dict.fromkeys(sorted(ruled, key=lambda one: one.name))
        open_ones -= ruled
        for _ in range(_ROUNDS):
            await whatif.show(frozenset(open_ones))
            plan = await whatif.explain(query.text)
            used = whatif.used(plan, open_ones)
            if not used or plan["Total Cost"] > _ENOUGH * query.plan["Total Cost"]:
                break
            taken |= dict.fromkeys(sorted(used, key=lambda one: one.name))
            open_ones -= used
    await whatif.show(frozenset())
    return {one: frozenset(query.name for query in queries if query.asks_for(one)) for one in taken}


class _Costs:
    """What a query costs with a set of indexes; asked of the planner once."""

    def __init__(self, queries: Sequence[_Query], whatif: WhatIf, tables: Tables) -> None:
        self._queries = {query.name: query for query in queries}
        self._whatif = whatif
        self._tables = tables
        self._known: dict[tuple[str, frozenset[Candidate]], float] = {}

    async def __call__(self, name: str, shown: frozenset[Candidate]) -> float:
        query = self._queries[name]
        mine = frozenset(one for one in shown if query.asks_for(one))
        if (name, mine) not in self._known:
            self._known[name, mine] = await self._ask(query, mine)
        return self._known[name, mine]

    async def _ask(self, query: _Query, shown: frozenset[Candidate]) -> float:
        asked = frozenset(one for one in shown if not _by_rule(one))
        await self._whatif.show(asked)
        plan = await self._whatif.explain(query.text)
        cost = float(plan["Total Cost"])
        for one in shown - asked:
            cost -= _saved(plan, one, self._tables)
        return query.weight * max(cost, 0.01)


def _by_rule(one: Candidate) -> bool:
    """GIN is reckoned by one rule everywhere, since hypothetical ones are hard to come by.

    hypopg has none, and a shadow without pg_trgm cannot have those for trigrams.
    """
    return one.method == "gin"


def _saved(plan: Mapping[str, Any], one: Candidate, tables: Tables) -> float:
    """What a GIN index saves: a scan whose condition it answers becomes a few random pages."""
    key = _bare(one.keys[0])
    saved = 0.0
    for node in nodes(plan):
        text = str(node.get("Filter", ""))
        here = (node.get("Schema"), node.get("Relation Name")) == (one.schema, one.table)
        if not here or key not in unqualified(text) or not _answers(one, text):
            continue
        rows = float(node["Plan Rows"])
        pages = tables.bytes.get((one.schema, one.table), 0) / 8192
        fetched = min(pages, max(rows, 5.0))
        saved += max(0.0, float(node["Total Cost"]) - 20 - fetched * _RANDOM_PAGE)
    # Under a LIMIT the whole scan was never going to be read.
    return min(saved, max(0.0, float(plan["Total Cost"]) - 20))


def _answers(one: Candidate, text: str) -> bool:
    trigrams = "gin_trgm_ops" in one.keys[0]
    return any(f" {operator} " in text for operator in (_LIKE if trigrams else _MEMBER))


_LIKE = ("~~*", "~~")
_MEMBER = ("@>", "&&", "@@", "@?", "?")


def _write_share(one: Candidate, tables: Tables) -> float:
    """How much dearer an index makes writing: as one more beside the table and its indexes."""
    written = sum(tables.written.values())
    table = (one.schema, one.table)
    share = tables.written.get(table, 0) / written if written else 1 / max(1, len(tables.rows))
    heavy = 3.0 if one.method == "gin" else 0.3 if one.predicate else 1.0
    return heavy * share / (_TABLE_WRITE + tables.indexes.get(table, 0))


async def _explained(
    chosen: Chosen,
    sizes: Mapping[Candidate, int],
    relevant: Mapping[Candidate, frozenset[str]],
    costs: _Costs,
) -> list[Advised]:
    """What each index is good for: what would be lost without it."""
    whole = frozenset(chosen.indexes)
    total = max(1e-9, sum(chosen.before.values()))
    advised = []
    for one in chosen.indexes:
        lost = {q: await costs(q, whole - {one}) - chosen.after[q] for q in relevant[one]}
        helped = tuple(query for query, loss in lost.items() if loss > 0.01 * chosen.after[query])
        advised.append(Advised(one, sizes[one], sum(lost.values()) / total, helped))
    return sorted(advised, key=lambda one: -one.gain)


def without(advice: Advice, dropped: Iterable[Candidate]) -> Advice:
    """The same advice without some indexes."""
    gone = set(dropped)
    return replace(advice, indexes=tuple(o for o in advice.indexes if o.index not in gone))
