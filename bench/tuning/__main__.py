"""The index advisor beside an expert, pgtuner-mcp and pg_qualstats; and the findings, in one run.

    uv run python bench/tuning            # about four minutes; needs Debian's PostgreSQL with
                                          # postgresql-15-hypopg and postgresql-15-pg-qualstats
    uv run python bench/tuning --short    # a smaller testbed, less than a minute, no peers

The testbed is a service of 31 queries on 460 MB with primary keys only. Every set of indexes is
built on it, measured and dropped again. What a query costs is the processor time of the server's
process (the best of some runs), so that other work on the machine hardly counts; "total" weighs
each query by how often it comes. One query stops counting at five seconds.

It ends with each goal and its figure; exit status: 0 all met, 1 one missed, 2 could not run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench.tuning import testbed  # noqa: E402 - the path had to be known first
from insight_cloud import tuning  # noqa: E402
from insight_cloud.core.errors import Missing  # noqa: E402
from insight_cloud.database import embedded  # noqa: E402
from insight_cloud.tuning.advisor import hypopg, shadow, trial, whatif  # noqa: E402
from insight_cloud.tuning.advisor.accesses import indexes_used  # noqa: E402
from insight_cloud.tuning.advisor.advice import Advice, Tables, advise  # noqa: E402
from insight_cloud.tuning.advisor.choice import Budget  # noqa: E402
from insight_cloud.tuning.facts import Statement  # noqa: E402
from insight_cloud.tuning.postgres import connected  # noqa: E402
from tests import postgres  # noqa: E402
from tests.tuning import planted  # noqa: E402
from tests.tuning.conftest import plant  # noqa: E402

PEER = "pgtuner-mcp==0.6.0"
CAP_SECONDS = 5
SETTINGS = {
    "shared_preload_libraries": "pg_qualstats,pg_stat_statements",
    "pg_qualstats.sample_rate": "1",
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "max_parallel_workers_per_gather": "0",
    "random_page_cost": "1.1",
    "jit": "off",
    "autovacuum": "off",
}
STATEMENTS = [Statement(query.text, query.calls, 0.0) for query in testbed.QUERIES]


@dataclass(slots=True)
class Measured:
    """One set of indexes: milliseconds of each query, and what the set costs."""

    name: str
    ms: dict[str, float] = field(default_factory=dict)
    indexes: int = 0
    unused: int = 0
    invalid: int = 0
    mib: float = 0
    writes_ms: float = 0
    advice_seconds: float = 0

    @property
    def total(self) -> float:
        """All queries, weighted by how often each comes."""
        calls = {query.name: query.calls for query in testbed.QUERIES}
        return float(sum(ms * calls[name] for name, ms in self.ms.items()))

    def slower(self, before: Measured) -> list[str]:
        """The queries that are slower than without any index."""
        return [name for name, ms in self.ms.items() if ms > before.ms[name] * 1.15 + 0.5]


@asynccontextmanager
async def scratch() -> AsyncIterator[shadow.Scratch]:
    """The throwaway PostgreSQL 18 of the advisor."""
    with tempfile.TemporaryDirectory(dir=postgres.fast_directory()) as name:
        settings = {**postgres.UNSAFE, "autovacuum": "off"}
        async with embedded.server(Path(name), settings=settings) as url:
            yield shadow.Scratch(url, Path(name) / "data", embedded.binaries())


async def fill(url: str, scale: float) -> float:
    """Make the testbed; return its size in MiB."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for name in ("hypopg", "pg_qualstats", "pg_stat_statements"):
            try:
                await connection.execute(f"create extension {name}".encode())
            except psycopg.Error as error:
                raise Missing(f"{name} is not installed: {error}") from error
        await connection.execute(testbed.SCHEMA.encode())
        for statement in testbed.fill(scale):
            await connection.execute(statement.encode())
        found = await connection.execute("select pg_database_size(current_database())")
        row = await found.fetchone()
        assert row is not None
        return float(row[0]) / 2**20


# -- measuring -------------------------------------------------------------------------------


def _cpu_ns(pid: int) -> int:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


async def measure(url: str, name: str, statements: Sequence[str]) -> Measured:
    """Build the indexes, measure, drop them."""
    found = Measured(name)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        made: list[str] = []
        for number, statement in enumerate(statements):
            _, _, rest = statement.replace(" ON ", " on ").partition(" on ")
            named = f"create index trial_{number} on {rest}"
            try:
                await connection.execute(named.encode())
                made.append(f"trial_{number}")
            except psycopg.Error as error:
                print(f"  {name}: {error}", file=sys.stderr)
                found.invalid += 1
        await connection.execute("analyze")
        await connection.execute(f"set statement_timeout = '{CAP_SECONDS}s'".encode())
        used: set[str] = set()
        for query in testbed.QUERIES:
            found.ms[query.name] = await _query(connection, query.text)
            rows = await connection.execute(f"explain (format json) {query.text}".encode())
            plan = await rows.fetchone()
            assert plan is not None
            used |= indexes_used(plan[0][0]["Plan"])
        await connection.execute("set statement_timeout = 0")
        found.writes_ms = await _writes(connection)
        size = await connection.execute(
            "select coalesce(sum(pg_relation_size(oid)), 0) from pg_class where relname ~ '^trial_'"
        )
        row = await size.fetchone()
        assert row is not None
        found.mib = float(row[0]) / 2**20
        for index in made:
            await connection.execute(f"drop index {index}".encode())
        found.indexes, found.unused = len(made), len(set(made) - used)
    return found


async def _query(connection: psycopg.AsyncConnection[Any], text: str) -> float:
    pid, best = connection.info.backend_pid, math.inf
    for _ in range(5):
        began = _cpu_ns(pid)
        try:
            await (await connection.execute(text.encode())).fetchall()
        except psycopg.errors.QueryCanceled:
            return CAP_SECONDS * 1000
        best = min(best, (_cpu_ns(pid) - began) / 1e6)
        if best > 200:
            break
    return best


async def _writes(connection: psycopg.AsyncConnection[Any]) -> float:
    pid, best = connection.info.backend_pid, math.inf
    for _ in range(3):
        began = _cpu_ns(pid)
        async with connection.transaction(force_rollback=True):
            for statement in testbed.WRITES:
                await connection.execute(statement.encode())
        best = min(best, (_cpu_ns(pid) - began) / 1e6)
        await connection.execute("vacuum findings, runs")
    return best


# -- who advises -----------------------------------------------------------------------------


async def ours(url: str, clone: str, *, extension: bool) -> tuple[list[str], float, Advice]:
    """Our advice, confirmed on a clone; its seconds are those until it could be printed."""
    facts = await tuning.read(url)
    async with connected(url) as link:
        tables = Tables.of(facts, await whatif.columns_of(link))
    began = time.perf_counter()
    opened = hypopg.opened(url) if extension else shadow.opened(url, scratch)
    async with opened as what:
        advice = await advise(STATEMENTS, tables, what, Budget(write_share=2.0))
    seconds = time.perf_counter() - began
    proved = await trial.confirm(url, clone, STATEMENTS, advice)
    for name, why in proved.dropped.items():
        print(f"  taken out on the clone: {name}: {why}", file=sys.stderr)
    return [f"create index x {one.on}" for one in proved.kept], seconds, advice


async def qualstats(url: str) -> list[str]:
    """pg_qualstats's own advisor, after the workload has run once."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("select pg_qualstats_reset()")
        await connection.execute(f"set statement_timeout = '{CAP_SECONDS}s'".encode())
        for query in testbed.QUERIES:
            try:
                await connection.execute(query.text.encode())
            except psycopg.errors.QueryCanceled:
                continue
        rows = await connection.execute(
            "select v ->> 'ddl' from json_array_elements(pg_qualstats_index_advisor("
            "min_filter => 50) -> 'indexes') v"
        )
        return [row[0] for row in await rows.fetchall()]


_PEER = """
import asyncio, json, sys
from pgtuner_mcp.services.index_advisor import IndexAdvisor
from pgtuner_mcp.services.sql_driver import SqlDriver, DbConnPool
async def main():
    pool = DbConnPool(sys.argv[1])
    await pool.connect()
    advisor = IndexAdvisor(SqlDriver(pool))
    found = await advisor.analyze_queries(json.load(sys.stdin), max_recommendations=24)
    print(json.dumps([r.definition for r in found.recommendations]))
asyncio.run(main())
"""


async def pgtuner(url: str, environment: Path) -> list[str]:
    """pgtuner-mcp in an environment of its own, told every query with its constants."""
    uv = [str(ROOT / "scripts/uv")]
    python = environment / "bin/python"
    for command in (
        [*uv, "venv", "-q", str(environment)],
        [*uv, "pip", "install", "-q", "--python", str(python), PEER],
    ):
        await asyncio.to_thread(subprocess.run, command, check=True)
    done = await asyncio.to_thread(
        subprocess.run,
        [str(python), "-c", _PEER, url],
        input=json.dumps([query.text for query in testbed.QUERIES]),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        raise Missing(f"pgtuner-mcp does not run: {done.stderr.strip()[-300:]}")
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


# -- findings --------------------------------------------------------------------------------


async def findings(url: str) -> tuple[int, int, float]:
    """Plant faults and decoys beside the testbed; how many are found, false alarms, seconds."""
    await plant(url)
    best, found = math.inf, set()
    for _ in range(3):
        began = time.perf_counter()
        facts = await tuning.read(url)
        every = tuning.findings(facts, planted.THRESHOLDS)
        best = min(best, time.perf_counter() - began)
        found = {(one.kind, one.target) for one in every if not one.kind.startswith("setting.")}
    found = {pair for pair in found if pair[0] != "statement.slow"}  # the workload's own
    for kind, target in sorted(found - planted.FAULTS):
        print(f"  false alarm: {kind} {target}", file=sys.stderr)
    return len(found & planted.FAULTS), len(found - planted.FAULTS), best


# -- the run ---------------------------------------------------------------------------------


async def run(scale: float, *, peers: bool) -> dict[str, Any]:
    """Everything; returns the figures."""
    with postgres.debian(SETTINGS) as server:
        await server.ready()
        url = server.url
        size = await fill(url, scale)
        print(f"testbed: {size:.0f} MiB, {len(testbed.QUERIES)} queries")
        clone = postgres.with_database(url, "clone")
        async with await psycopg.AsyncConnection.connect(
            postgres.with_database(url, "template1"), autocommit=True
        ) as connection:
            await connection.execute("create database clone template postgres")
        sets: list[Measured] = []

        async def add(name: str, statements: Sequence[str], seconds: float = 0) -> Measured:
            found = await measure(url, name, statements)
            found.advice_seconds = seconds
            sets.append(found)
            _row(found, sets[0])
            return found

        _head()
        before = await add("none", ())
        expert = await add("expert", testbed.EXPERT)
        chosen, seconds, _ = await ours(url, clone, extension=False)
        alone = await add("ours, shadow", chosen, seconds)
        chosen, seconds, _ = await ours(url, clone, extension=True)
        extended = await add("ours, hypopg", chosen, seconds)
        if peers:
            began = time.perf_counter()
            await add("pg_qualstats", await qualstats(url), time.perf_counter() - began)
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                definitions = await pgtuner(url, Path(folder) / "peer")
                await add("pgtuner-mcp", definitions, time.perf_counter() - began)
        hits, alarms, seconds = await findings(url)
    return {
        "mib": size,
        "sets": sets,
        "share": (before.total / alone.total) / (before.total / expert.total),
        "between": abs(alone.total - extended.total) / max(alone.total, extended.total),
        "expert": expert,
        "ours": alone,
        "extended": extended,
        "before": before,
        "found": hits,
        "alarms": alarms,
        "findings_seconds": seconds,
    }


def _head() -> None:
    print(
        f"{'set':14} {'total ms':>10} {'speed-up':>8} {'geomean':>8} {'slower':>6} {'indexes':>7}"
        f" {'unused':>6} {'invalid':>7} {'MiB':>6} {'writes':>6} {'advice s':>8}"
    )


def _row(one: Measured, before: Measured) -> None:
    ratios = [before.ms[name] / max(ms, 0.02) for name, ms in one.ms.items()]
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    print(
        f"{one.name:14} {one.total:>10,.0f} {before.total / one.total:>8.1f} {mean:>8.1f}"
        f" {len(one.slower(before)):>6} {one.indexes:>7} {one.unused:>6} {one.invalid:>7}"
        f" {one.mib:>6.0f} {one.writes_ms / before.writes_ms:>6.2f} {one.advice_seconds:>8.1f}",
        flush=True,
    )


def goals(figures: dict[str, Any], *, short: bool) -> bool:
    """Print each goal and its figure."""
    one, other, before = figures["ours"], figures["extended"], figures["before"]
    slower = sorted({*one.slower(before), *other.slower(before)})
    rows = [
        ("testbed", f"{figures['mib']:.0f} MiB", "≥ 400", short or figures["mib"] >= 400),
        ("speed-up of the expert's", f"{figures['share']:.0%}", "≥ 80 %", figures["share"] >= 0.8),
        ("with and without hypopg", f"{figures['between']:.1%} apart", "≤ 10 %",
         figures["between"] <= 0.1),
        ("indexes", f"{one.indexes}", "≤ 24", one.indexes <= 24),
        ("unused", f"{one.unused}", "0", one.unused == 0),
        ("invalid", f"{one.invalid}", "0", one.invalid == 0),
        ("slower queries", ", ".join(slower) or "none", "none", not slower),
        ("faults found", f"{figures['found']} of {len(planted.FAULTS)}", "all",
         figures["found"] == len(planted.FAULTS)),
        ("false alarms", f"{figures['alarms']}", "0", figures["alarms"] == 0),
        ("findings", f"{figures['findings_seconds']:.2f} s", "≤ 2 s",
         figures["findings_seconds"] <= 2),
    ]  # fmt: skip
    print()
    for name, figure, goal, met in rows:
        print(f"{name}: {figure} (goal {goal}){'' if met else '  MISSED'}")
    return all(met for *_, met in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a quarter of the data, no peers")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    if postgres.debian_binaries() is None or not Path(f"/proc/{os.getpid()}/schedstat").exists():
        print("needs Linux and Debian's PostgreSQL (apt-get install postgresql)", file=sys.stderr)
        return 2
    try:
        figures = asyncio.run(run(0.2 if options.short else 0.85, peers=not options.short))
    except Missing as error:
        print(f"could not run: {error}", file=sys.stderr)
        return 2
    if options.json:
        rows = [
            {**{k: getattr(one, k) for k in one.__slots__}, "total": one.total}
            for one in figures["sets"]
        ]
        numbers = {k: v for k, v in figures.items() if isinstance(v, int | float)}
        options.json.write_text(json.dumps({**numbers, "sets": rows}, indent=1) + "\n")
    return 0 if goals(figures, short=options.short) else 1


if __name__ == "__main__":
    sys.exit(main())
