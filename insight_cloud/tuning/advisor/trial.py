"""Advice put to the proof: built on a clone, where every statement is run before and after.

What nobody uses and what makes a statement slower is taken out of the advice. At the end the
clone is as it was.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from insight_cloud.core.errors import Conflict, InsightError, Refused
from insight_cloud.tuning.advisor import whatif
from insight_cloud.tuning.advisor.accesses import indexes_used
from insight_cloud.tuning.advisor.advice import Advice
from insight_cloud.tuning.advisor.candidates import Candidate
from insight_cloud.tuning.facts import Statement, quoted
from insight_cloud.tuning.postgres import Link, connected

__all__ = ["Trial", "confirm"]

_SLOWER = 1.2
_NOISE_MS = 2.0
_ROUNDS = 2
_LONG_MS = 1000.0


@dataclass(frozen=True, slots=True)
class Trial:
    """Milliseconds of each statement before and after, and what did not stand the test."""

    before: Mapping[str, float]
    after: Mapping[str, float]
    kept: tuple[Candidate, ...]
    dropped: Mapping[str, str]
    """Names of indexes, and why they were taken out."""
    unmeasured: Mapping[str, str] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """How many times faster the statements together are, each counted once."""
        return sum(self.before.values()) / max(0.001, sum(self.after.values()))

    def as_dict(self) -> dict[str, Any]:
        """The same data for `--json` and reports."""
        return {
            "times_faster": round(self.ratio, 2),
            "statements": [
                {"statement": name, "before_ms": round(ms, 3), "after_ms": round(after, 3)}
                for name, ms in self.before.items()
                if (after := self.after.get(name)) is not None
            ],
            "dropped": dict(self.dropped),
            "unmeasured": dict(self.unmeasured),
        }


@dataclass(slots=True)
class _Run:
    ms: float
    used: set[str]


async def confirm(
    url: str,
    clone_url: str,
    statements: Sequence[Statement],
    advice: Advice,
    *,
    seconds: float = 10,
) -> Trial:
    """Build `advice` on the clone, and measure every statement before and after it.

    `clone_url` is a database of the same content that may be changed: a restored backup. Each
    statement runs at most `seconds`, inside a transaction that is rolled back.

    Raises:
        Refused: the clone is the database itself.
    """
    await _not_the_same(url, clone_url)
    limit = {"statement_timeout": f"{int(seconds * 1000)}ms"}
    async with connected(clone_url, settings=limit) as link:
        texts, unmeasured = _runnable(statements)
        before = await _measure(link, texts, seconds, unmeasured)
        texts = {name: text for name, text in texts.items() if name in before}
        async with _built(link, [one.index for one in advice.indexes]) as there:
            after, dropped = await _weed(link, texts, before, there, seconds=seconds)
            return Trial(
                {name: run.ms for name, run in before.items()},
                {name: run.ms for name, run in after.items()},
                tuple(there.values()),
                dropped,
                unmeasured,
            )


async def _not_the_same(url: str, clone_url: str) -> None:
    identity = (
        "select pg_postmaster_start_time()::text || ' ' || oid::text as identity"
        " from pg_database where datname = current_database()"
    )
    async with connected(url) as link, connected(clone_url) as clone:
        if await link.value(identity) == await clone.value(identity):
            raise Refused("the clone is the database itself: restore a backup, and name that")


def _runnable(statements: Sequence[Statement]) -> tuple[dict[str, str], dict[str, str]]:
    texts, unmeasured = {}, {}
    for number, statement in enumerate(statements):
        name = f"{number + 1}: {' '.join(statement.text.split())[:100]}"
        text = statement.samples[0] if statement.samples else statement.text
        if "$1" in text:
            unmeasured[name] = "its values are not known: give a log or a file of statements"
        else:
            texts[name] = text.rstrip().rstrip(";")
    return texts, unmeasured


async def _measure(
    link: Link, texts: Mapping[str, str], seconds: float, unmeasured: dict[str, str]
) -> dict[str, _Run]:
    runs = {}
    for name, text in texts.items():
        try:
            runs[name] = await _run(link, text, seconds)
        except InsightError as error:
            unmeasured[name] = str(error)[:300]
    return runs


async def _run(link: Link, text: str, seconds: float) -> _Run:
    """The fastest of some runs; one is enough for what takes long."""
    best = _Run(float("inf"), set())
    for _ in range(_ROUNDS):
        try:
            async with link.undone():
                rows = await link.rows(f"explain (analyze, timing off, format json) {text}")
        except Conflict:  # it took too long: that is how long it takes, at least
            plan = await whatif.explain(link, text)
            return _Run(seconds * 1000, indexes_used(plan))
        found = next(iter(rows[0].values()))
        result = msgspec.json.decode(found) if isinstance(found, str) else found
        ms = float(result[0]["Execution Time"])
        if ms < best.ms:
            best = _Run(ms, indexes_used(result[0]["Plan"]))
        if ms > _LONG_MS:
            break
    return best


@asynccontextmanager
async def _built(link: Link, wanted: Sequence[Candidate]) -> AsyncIterator[dict[str, Candidate]]:
    """The indexes, by name; those that stayed are dropped at the end."""
    there: dict[str, Candidate] = {}
    limit = await link.value("show statement_timeout")
    try:
        await link.value("select set_config('statement_timeout', '0', false)")
        for one in wanted:
            await link.rows(f"create index {quoted(one.name)} {one.on}")
            there[one.name] = one
        for schema, table in {(one.schema, one.table) for one in wanted}:
            await link.rows(f"analyze {quoted(schema, table)}")
        await link.value("select set_config('statement_timeout', %s, false)", [limit])
        yield there
    finally:
        with contextlib.suppress(InsightError):
            await link.value("select set_config('statement_timeout', '0', false)")
            for one in wanted:
                await link.rows(f"drop index if exists {one.title}")


async def _weed(
    link: Link,
    texts: Mapping[str, str],
    before: Mapping[str, _Run],
    there: dict[str, Candidate],
    *,
    seconds: float,
) -> tuple[dict[str, _Run], dict[str, str]]:
    """Drop what harms, then what nobody uses, until neither is left."""
    dropped: dict[str, str] = {}
    after = await _measure(link, texts, seconds, {})
    while True:
        slower = [n for n, run in after.items() if _is_slower(before[n], run)]
        guilty = {index for n in slower for index in after[n].used if index in there}
        if guilty:
            name = min(guilty, key=lambda index: _saving(index, before, after))
            why = f"makes slower: {slower[0]}"
        else:
            used = {index for run in after.values() for index in run.used}
            idle = sorted(set(there) - used)
            if not idle:
                return after, dropped
            name, why = idle[0], "no statement uses it"
        one = there.pop(name)
        dropped[name] = why
        await link.rows(f"drop index {one.title}")
        concerned = {n: t for n, t in texts.items() if n not in after or name in after[n].used}
        after |= await _measure(link, concerned, seconds, {})


def _is_slower(before: _Run, after: _Run) -> bool:
    return after.ms > before.ms * _SLOWER + _NOISE_MS


def _saving(index: str, before: Mapping[str, _Run], after: Mapping[str, _Run]) -> float:
    return sum(before[n].ms - run.ms for n, run in after.items() if index in run.used)
