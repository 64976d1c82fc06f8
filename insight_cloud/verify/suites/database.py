"""The database: reachable, fast, whole: every question is one statement that names the faults."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from insight_cloud.core.errors import Conflict, Corrupt, InsightError
from insight_cloud.database import Pool, migrations
from insight_cloud.database.sql import Query
from insight_cloud.verify.asking import Answer, Asker, failed, judged, not_run, passed
from insight_cloud.verify.subject import Subject

__all__ = ["FAULTS", "run"]

_OLDEST_VERSION = 14
_SLOW_SECONDS = 0.1
_TRIES = 5
_OURS = "n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'"
_NEVER_ANALYSED_ROWS = 1000

FAULTS: Final[tuple[tuple[str, Query], ...]] = (
    (
        "every table has a primary key",
        Query(
            "verify_primary_keys",
            f"""select c.oid::regclass::text from pg_class c
            join pg_namespace n on n.oid = c.relnamespace
            where {_OURS} and c.relkind in ('r', 'p') and not c.relispartition
            and not exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary)
            and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e')
            order by 1""",  # noqa: S608 - the text is ours
        ),
    ),
    (
        "every constraint is validated",
        Query(
            "verify_constraints",
            f"""select k.conrelid::regclass::text || ': ' || k.conname from pg_constraint k
            join pg_namespace n on n.oid = k.connamespace
            where {_OURS} and not k.convalidated order by 1""",  # noqa: S608
        ),
    ),
    (
        "every index is usable",
        Query(
            "verify_indexes",
            f"""select i.indexrelid::regclass::text from pg_index i
            join pg_class c on c.oid = i.indexrelid join pg_namespace n on n.oid = c.relnamespace
            where {_OURS} and c.relkind = 'i' and not (i.indisvalid and i.indisready)
            order by 1""",  # noqa: S608
        ),
    ),
    (
        "no index is there twice",
        Query(
            "verify_duplicates",
            f"""select min(i.indexrelid::regclass::text) || ' = '
            || max(i.indexrelid::regclass::text) from pg_index i
            join pg_class c on c.oid = i.indexrelid join pg_namespace n on n.oid = c.relnamespace
            where {_OURS}
            group by i.indrelid, i.indkey::text, i.indclass::text, i.indoption::text,
            i.indcollation::text, c.relam, i.indisunique, i.indnkeyatts,
            coalesce(pg_get_expr(i.indexprs, i.indrelid), ''),
            coalesce(pg_get_expr(i.indpred, i.indrelid), '')
            having count(*) > 1 order by 1""",  # noqa: S608
        ),
    ),
    (
        "every foreign key has an index",
        Query(
            "verify_foreign_keys",
            rf"""select k.conrelid::regclass::text || ': ' || k.conname from pg_constraint k
            join pg_namespace n on n.oid = k.connamespace
            where {_OURS} and k.contype = 'f' and k.conparentid = 0
            and not exists (select from pg_index i where i.indrelid = k.conrelid and i.indisvalid
            and (i.indpred is null
            or pg_get_expr(i.indpred, i.indrelid) ~ '^[(]\w+ IS NOT NULL[)]$')
            and k.conkey @> (i.indkey::int2[])[0:cardinality(k.conkey) - 1]
            and (i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey)
            order by 1""",  # noqa: S608
        ),
    ),
    (
        "no trigger is switched off",
        Query(
            "verify_triggers",
            f"""select t.tgrelid::regclass::text || ': ' || t.tgname from pg_trigger t
            join pg_class c on c.oid = t.tgrelid join pg_namespace n on n.oid = c.relnamespace
            where {_OURS} and t.tgenabled = 'D' order by 1""",  # noqa: S608
        ),
    ),
    (
        "no sequence is near its end",
        Query(
            "verify_sequences",
            """select schemaname || '.' || sequencename || ' at '
            || round(100 * s.last_value::numeric / least(s.max_value,
            coalesce((select case a.atttypid when 'int2'::regtype then 32767
            when 'int4'::regtype then 2147483647 else 9223372036854775807 end
            from pg_depend d join pg_attribute a
            on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
            where d.objid = (quote_ident(s.schemaname) || '.'
            || quote_ident(s.sequencename))::regclass
            and d.deptype in ('a', 'i') and d.refobjsubid > 0 limit 1), s.max_value)), 0)
            || ' percent'
            from pg_sequences s where s.increment_by > 0 and not s.cycle
            and s.last_value::numeric > 0.8 * least(s.max_value,
            coalesce((select case a.atttypid when 'int2'::regtype then 32767
            when 'int4'::regtype then 2147483647 else 9223372036854775807 end
            from pg_depend d join pg_attribute a
            on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
            where d.objid = (quote_ident(s.schemaname) || '.'
            || quote_ident(s.sequencename))::regclass
            and d.deptype in ('a', 'i') and d.refobjsubid > 0 limit 1), s.max_value))
            order by 1""",
        ),
    ),
    (
        "every large table has statistics",
        Query(
            "verify_statistics",
            f"""select c.oid::regclass::text from pg_class c
            join pg_namespace n on n.oid = c.relnamespace
            where {_OURS} and c.relkind = 'r'
            and pg_relation_size(c.oid) > {_NEVER_ANALYSED_ROWS} * 50
            and not exists (select from pg_statistic s where s.starelid = c.oid)
            order by 1""",  # noqa: S608
        ),
    ),
    (
        "autovacuum is on everywhere",
        Query(
            "verify_autovacuum",
            f"""select 'the server' where current_setting('autovacuum') <> 'on'
            union all select c.oid::regclass::text from pg_class c
            join pg_namespace n on n.oid = c.relnamespace
            where {_OURS} and 'autovacuum_enabled=false' = any(c.reloptions)""",  # noqa: S608
        ),
    ),
    (
        "not everybody may create objects",
        Query(
            "verify_create",
            f"""select n.nspname::text from pg_namespace n, aclexplode(n.nspacl) a
            where {_OURS} and a.grantee = 0 and a.privilege_type = 'CREATE' order by 1""",  # noqa: S608
        ),
    ),
    (
        "texts are UTF-8",
        Query(
            "verify_encoding",
            """select pg_encoding_to_char(encoding)::text from pg_database
            where datname = current_database() and pg_encoding_to_char(encoding) <> 'UTF8'""",
        ),
    ),
    (
        "what is committed survives a crash",
        Query(
            "verify_durability",
            """select name || ' is ' || setting from pg_settings
            where name in ('fsync', 'full_page_writes', 'synchronous_commit')
            and setting = 'off' order by 1""",
        ),
    ),
)
"""Each question as a statement that finds what is wrong: no row is well."""


async def run(subject: Subject, asker: Asker) -> None:
    """Ask, if there is a database to ask."""
    if subject.database_url is None:
        reason = "no database is known: set DATABASE_URL"
        await asker.skip("the database", reason)
        return
    pool = Pool(subject.database_url, min_size=1, max_size=2, acquire_timeout_seconds=10)
    try:
        reached = await asker.ask("it can be reached", partial(_reached, pool))
        if reached.status != "pass":
            return
        await asker.ask("it answers at once", partial(_latency, pool))
        await asker.ask("its version is supported", partial(_version, pool))
        await asker.ask("its migrations are applied", partial(_migrations, pool, subject))
        for name, query in FAULTS:
            await asker.ask(name, _finding(pool, query))
    finally:
        await pool.close()


async def _reached(pool: Pool) -> Answer:
    try:
        await pool.open()
        await pool.fetch_value("select 1")
    except InsightError as error:
        return failed(str(error))
    return passed()


async def _latency(pool: Pool) -> Answer:
    """The quickest of a few: one may wait for something else."""
    found = []
    for _ in range(_TRIES):
        began = time.perf_counter()
        await pool.fetch_value("select 1")
        found.append(time.perf_counter() - began)
    answer = passed if min(found) <= _SLOW_SECONDS else failed
    return answer(f"{min(found) * 1000:.1f} ms")


async def _version(pool: Pool) -> Answer:
    version: str = await pool.fetch_value("select current_setting('server_version')")
    if int(version.split(".", maxsplit=1)[0]) < _OLDEST_VERSION:
        return failed(f"{version}; at least {_OLDEST_VERSION} is needed")
    return passed(version)


async def _migrations(pool: Pool, subject: Subject) -> Answer:
    if subject.migrations is None:
        return not_run("no migrations are known: give --migrations FOLDER")
    try:
        state = await migrations.status(pool, subject.migrations)
    except (Corrupt, Conflict) as error:
        return failed(str(error))
    if state.pending:
        return failed(f"{len(state.pending)} are not applied", *state.pending)
    ahead = f", {len(state.ahead)} of a newer program" if state.ahead else ""
    return passed(f"{len(state.applied)} are applied{ahead}")


def _finding(pool: Pool, query: Query) -> Callable[[], Awaitable[Answer]]:
    async def question() -> Answer:
        found: list[tuple[str | bytes]] = await pool.fetch_all(query, tuple)
        # psycopg leaves texts as bytes where their encoding is unknown.
        return judged([each if isinstance(each, str) else each.decode() for (each,) in found])

    return question
