"""Hypothetical indexes of the hypopg extension, on the server that is looked at."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from insight_cloud.core.errors import InsightError, Missing
from insight_cloud.tuning.advisor import whatif
from insight_cloud.tuning.advisor.accesses import indexes_used
from insight_cloud.tuning.advisor.candidates import Candidate
from insight_cloud.tuning.postgres import Link, connected

__all__ = ["Hypopg", "opened"]


class Hypopg:
    """They live in our connection's memory: no lock, no catalogue, gone with us."""

    name = "hypopg"

    def __init__(self, link: Link, schema: str, collation: str) -> None:
        self._link = link
        self._schema = schema
        self.collation = collation
        self._shown: dict[Candidate, tuple[int, str]] = {}

    async def offer(self, candidates: Iterable[Candidate]) -> dict[Candidate, int]:
        """Try each once, for its size."""
        sizes: dict[Candidate, int] = {}
        for candidate in candidates:
            try:
                made, _ = await self._make(candidate)
            except InsightError:  # a method that it does not know, or what no index can be on
                continue
            size = await self._ask("hypopg_relation_size(%s)", made)
            sizes[candidate] = int(size)
            await self._hide(made)
        return sizes

    async def show(self, chosen: frozenset[Candidate]) -> None:
        """Make what is missing, forget what is too many."""
        for candidate in set(self._shown) - chosen:
            oid, _ = self._shown.pop(candidate)
            await self._hide(oid)
        for candidate in sorted(chosen - set(self._shown), key=lambda one: one.name):
            self._shown[candidate] = await self._make(candidate)

    async def explain(self, statement: str) -> dict[str, Any]:
        """As the interface says."""
        return await whatif.explain(self._link, statement)

    def used(self, plan: Mapping[str, Any], chosen: Iterable[Candidate]) -> set[Candidate]:
        """By the names that hypopg gives."""
        names = indexes_used(plan)
        return {one for one in chosen if one in self._shown and self._shown[one][1] in names}

    async def _make(self, candidate: Candidate) -> tuple[int, str]:
        row = str(await self._ask("hypopg_create_index(%s)::text", f"create index {candidate.on}"))
        oid, _, name = row.strip("()").partition(",")
        return int(oid), name.strip('"')

    async def _hide(self, oid: int) -> None:
        await self._ask("hypopg_drop_index(%s)", oid)

    async def _ask(self, call: str, argument: object) -> Any:
        """Call one of the extension's functions, wherever it is installed."""
        return await self._link.value("select " + f"{self._schema}.{call}", [argument])


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Hypopg]:
    """Use the extension of the database at `url`.

    Raises:
        Missing: it is not there.
    """
    async with connected(url) as link:
        schema = await link.value(
            "select quote_ident(n.nspname) from pg_extension e join pg_namespace n"
            " on n.oid = e.extnamespace where e.extname = 'hypopg'"
        )
        if schema is None:
            raise Missing("the extension hypopg is not in this database")
        collation = await link.value(
            "select datcollate from pg_database where datname = current_database()"
        )
        yield Hypopg(link, str(schema), str(collation))
