"""Insert: rows written by `insert_many`, beside a multi-row INSERT and asyncpg's COPY.

Each writes the same rows into the same emptied table of one embedded server, in turns; a
method's figure is its best of the rounds. Waiting for the disk is switched off: what is
compared is the work. asyncpg runs in an environment of its own, made by uv.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

INSERT_GOAL, ASYNCPG_GOAL = 5.0, 0.8
ROWS, SHORT_ROWS, ROUNDS = 100_000, 20_000, 3
BATCH = 1_000
COLUMNS = ("id", "rule", "severity", "path", "message", "found_at")
TABLE = """
    create table findings (
        id bigint primary key, rule integer, severity smallint, path text, message text,
        found_at timestamptz
    )
"""
Row = tuple[Any, ...]


def rows(count: int) -> list[Row]:
    """Findings as an analyzer makes them; the same every time."""
    dice = random.Random(1)
    at = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    return [
        (
            number,
            dice.randrange(500),
            dice.randrange(1, 6),
            f"src/package/module_{dice.randrange(900)}.py",
            f"`name_{dice.randrange(5000)}` is assigned to but never used here",
            at + dt.timedelta(seconds=number),
        )
        for number in range(count)
    ]


# asyncpg's environment has neither of them.
if "--peer" not in sys.argv:
    import psycopg

    from insight_cloud.database import Pool, embedded


async def asyncpg_seconds(url: str, count: int) -> float:
    """In the other environment: asyncpg's binary COPY of the same rows, in a transaction."""
    import asyncpg  # type: ignore[import-not-found]  # it is in the other environment only

    connection = await asyncpg.connect(url)
    wanted = rows(count)
    try:
        await connection.execute("truncate findings")
        started = time.perf_counter()
        async with connection.transaction():
            await connection.copy_records_to_table("findings", records=wanted, columns=COLUMNS)
        return time.perf_counter() - started
    finally:
        await connection.close()


def run_asyncpg(url: str, count: int) -> float:
    command = ["uv", "run", "--quiet", "--no-project", "--python", sys.executable]
    command += ["--with", "asyncpg", "python", __file__, "--peer", url, "--rows", str(count)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    return float(done.stdout)


async def measure(count: int) -> dict[str, float]:
    """Seconds of each method."""
    wanted = rows(count)
    settings = {"fsync": "off", "synchronous_commit": "off"}
    with tempfile.TemporaryDirectory(prefix="insight-insert-") as folder:
        async with (
            embedded.server(Path(folder) / "postgres", settings=settings) as url,
            Pool(url) as pool,
        ):
            await pool.execute(TABLE)
            methods: dict[str, Callable[[], Awaitable[float]]] = {
                "insert_many": lambda: ours(pool, wanted, ()),
                "insert_many, upsert": lambda: ours(pool, wanted, ("id",)),
                f"INSERT of {BATCH:,} rows": lambda: multi_row(url, wanted),
                "asyncpg COPY": lambda: asyncio.to_thread(run_asyncpg, url, count),
            }
            best = dict.fromkeys(methods, float("inf"))
            for _ in range(ROUNDS):
                for name, method in methods.items():
                    best[name] = min(best[name], await method())
                    found = await pool.fetch_value("select count(*) from findings")
                    if found != count:
                        raise RuntimeError(f"{name} wrote {found} of {count} rows")
            return best


async def ours(pool: Pool, wanted: list[Row], upsert_on: tuple[str, ...]) -> float:
    await pool.execute("truncate findings")
    started = time.perf_counter()
    async with pool.transaction() as connection:
        await connection.insert_many("findings", COLUMNS, wanted, upsert_on=upsert_on)
    return time.perf_counter() - started


async def multi_row(url: str, wanted: list[Row]) -> float:
    """By psycopg itself, in its fastest form: positional parameters, one text for all batches."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute("truncate findings")
        await connection.commit()
        place = "(" + ", ".join(["%s"] * len(COLUMNS)) + ")"
        statement = f"insert into findings values {', '.join([place] * BATCH)}".encode()
        started = time.perf_counter()
        for begin in range(0, len(wanted), BATCH):
            flat = [value for row in wanted[begin : begin + BATCH] for value in row]
            await connection.execute(statement, flat)
        await connection.commit()
        return time.perf_counter() - started


def report(count: int, seconds: dict[str, float]) -> tuple[float, float]:
    print(f"{count:,} rows of {len(COLUMNS)} columns, best of {ROUNDS}")
    print(f"{'method':24} {'seconds':>8} {'rows/s':>10}")
    for name, best in seconds.items():
        print(f"{name:24} {best:8.3f} {count / best:10,.0f}")
    mine = seconds["insert_many"]
    return seconds[f"INSERT of {BATCH:,} rows"] / mine, seconds["asyncpg COPY"] / mine


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help=f"{SHORT_ROWS:,} rows")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--peer", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, default=ROWS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        print(asyncio.run(asyncpg_seconds(options.peer, options.rows)))
        return 0
    count = SHORT_ROWS if options.short else options.rows
    try:
        seconds = asyncio.run(measure(count))
    except subprocess.CalledProcessError as error:
        print(f"insert: could not run: {error.stderr.strip()[-500:]}")
        return 2
    except Exception as error:  # noqa: BLE001 - whatever it was, there is no figure
        print(f"insert: could not run: {error}")
        return 2
    of_insert, of_asyncpg = report(count, seconds)
    if options.json:
        figures = {"rows": count, "seconds": seconds}
        figures |= {"times_insert": of_insert, "times_asyncpg": of_asyncpg}
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(
        f"insert: {of_insert:.1f}x of INSERT, {of_asyncpg:.2f}x of asyncpg's COPY"
        f" (goal {INSERT_GOAL:.0f}x, {ASYNCPG_GOAL}x)"
    )
    return 0 if of_insert >= INSERT_GOAL and of_asyncpg >= ASYNCPG_GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
