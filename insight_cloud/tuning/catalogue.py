"""Reads the facts of a database from its catalogue and statistics; nothing is changed.

What the role may not see is left out and named in `Facts.unseen`: a rule that needs it is then
skipped, never answered by a guess.
"""

from __future__ import annotations

from typing import Any

from insight_cloud.core.errors import InsightError, Refused
from insight_cloud.tuning.facts import (
    Constraint,
    Facts,
    ForeignKey,
    Index,
    Sequence,
    Server,
    Session,
    Slot,
    Statement,
    Table,
)
from insight_cloud.tuning.postgres import Link, connected

__all__ = ["OLDEST", "facts_of", "read", "sessions"]

OLDEST = 130000
"""The oldest server whose catalogue we know."""
_PAGE = 8192
_MOST_STATEMENTS = 500


async def read(url: str) -> Facts:
    """Read everything about the database at `url`, in about a dozen queries.

    Raises:
        SettingsError: `url` is no connection URL.
        Unavailable: the server cannot be reached.
        Refused: it does not let us in, or is older than PostgreSQL 13.
        Conflict: somebody holds a table exclusively.
    """
    async with connected(url) as link:
        return await facts_of(link)


async def facts_of(link: Link) -> Facts:
    """Read everything over a connection that is open already."""
    if link.version < OLDEST:
        raise Refused(f"this is PostgreSQL {link.version // 10_000}: 13 and newer can be tuned")
    await _flush(link)
    unseen: dict[str, str] = {}
    server = await _server(link)
    all_stats = bool(await link.value("select pg_has_role('pg_read_all_stats', 'usage')"))
    if not all_stats:
        unseen["sessions"] = "what others do is hidden: grant pg_read_all_stats (or pg_monitor)"
    tables = tuple(_table(row) for row in await link.rows(_TABLES))
    if hidden := sum(table.has_statistics is None for table in tables):
        unseen["columns"] = (
            f"the columns' statistics of {hidden} of {len(tables)} tables are hidden, and so is"
            " bloat: grant select, or pg_read_all_data"
        )
    sequences = tuple(_sequence(row) for row in await link.rows(_SEQUENCES))
    if dark := sum(not sequence.visible for sequence in sequences):
        unseen["sequences"] = (
            f"{dark} of {len(sequences)} sequences are hidden: grant select on them,"
            " or pg_read_all_data"
        )
    return Facts(
        server=server,
        tables=tables,
        indexes=tuple(_index(row) for row in await link.rows(_INDEXES)),
        foreign_keys=tuple(_foreign_key(row) for row in await link.rows(_FOREIGN_KEYS)),
        constraints=tuple(Constraint(**row) for row in await link.rows(_CONSTRAINTS)),
        sequences=sequences,
        sessions=await sessions(link) if all_stats else (),
        slots=tuple(Slot(**row) for row in await link.rows(_SLOTS)),
        statements=await _statements(link, server.extensions, unseen),
        unseen=unseen,
    )


async def sessions(link: Link) -> tuple[Session, ...]:
    """Everybody who is connected to this database, but us."""
    found = []
    for row in await link.rows(_SESSIONS):
        row["blocked_by"] = tuple(row["blocked_by"] or ())
        found.append(Session(**row))
    return tuple(found)


async def _flush(link: Link) -> None:
    """Let our own statistics be counted; only since PostgreSQL 15 can that be asked for."""
    if link.version >= 150000:
        await link.value("select pg_stat_force_next_flush()")


async def _server(link: Link) -> Server:
    (row,) = await link.rows(_SERVER)
    settings = {one["name"]: one["value"] for one in await link.rows(_SETTINGS)}
    extensions = await link.rows("select extname from pg_extension")
    return Server(
        **row,
        version=link.version,
        settings=settings,
        extensions=frozenset(one["extname"] for one in extensions),
    )


def _table(row: dict[str, Any]) -> Table:
    width, options, readable = row.pop("width"), row.pop("options"), row.pop("readable")
    columns, seen = row.pop("columns"), row.pop("seen")
    if readable:
        row["has_statistics"] = seen > 0 or columns == 0
        if seen == columns and seen:
            row["wanted_bytes"] = _table_bytes(max(row["rows"], 0), width, columns, options)
    return Table(**row)


def _table_bytes(rows: float, width: float, columns: int, options: list[str] | None) -> float:
    """Bytes that `rows` of this width fill, by the layout of a page (storage-page-layout)."""
    fill = int(dict(o.split("=", 1) for o in options or ()).get("fillfactor", 100)) / 100
    header = 24 + (columns + 7) // 8
    # Columns are aligned to eight bytes at most; half of that is lost between them at a guess.
    tuple_bytes = _aligned(header) + _aligned(width + 1.5 * columns) + 4
    per_page = max(1.0, (_PAGE - 24) * fill // tuple_bytes)
    return rows / per_page * _PAGE


def _aligned(size: float) -> float:
    return -(-size // 8) * 8


def _index(row: dict[str, Any]) -> Index:
    width, fill = row.pop("width"), row.pop("fill")
    if width is not None and row["method"] == "btree" and not row["predicate"]:
        # A tuple has eight bytes of its own and four in the page's list; pages are 90 % full.
        per_page = max(1.0, (_PAGE - 40) * (fill or 90) / 100 // (_aligned(8 + width) + 4))
        row["wanted_bytes"] = (row["rows"] / per_page + 2) * _PAGE
    for name in ("keys", "columns", "included"):
        row[name] = tuple(row[name] or ())
    return Index(**row)


def _foreign_key(row: dict[str, Any]) -> ForeignKey:
    row["columns"], row["column_names"] = tuple(row["columns"]), tuple(row["column_names"])
    return ForeignKey(**row)


def _sequence(row: dict[str, Any]) -> Sequence:
    limit = {"smallint": 2**15, "integer": 2**31, "bigint": 2**63}.get(row.pop("type") or "")
    if limit is not None:
        row["lowest"] = max(row["lowest"], -limit)
        row["highest"] = min(row["highest"], limit - 1)
    return Sequence(**row)


async def _statements(
    link: Link, extensions: frozenset[str], unseen: dict[str, str]
) -> tuple[Statement, ...] | None:
    if "pg_stat_statements" not in extensions:
        unseen["statements"] = (
            "pg_stat_statements is not in this database: give a log (--log) or our own"
            " recorder's figures (--statements)"
        )
        return None
    schema = await link.value(
        "select quote_ident(n.nspname) from pg_extension e join pg_namespace n"
        " on n.oid = e.extnamespace where e.extname = 'pg_stat_statements'"
    )
    try:
        rows = await link.rows(_STATEMENTS.format(schema=schema, most=_MOST_STATEMENTS))
    except InsightError as error:  # it is not in shared_preload_libraries
        unseen["statements"] = f"pg_stat_statements cannot be read: {error}"
        return None
    seen = tuple(Statement(**row) for row in rows if row["text"] != "<insufficient privilege>")
    if len(seen) < len(rows):
        unseen["statements"] = (
            f"{len(rows) - len(seen)} statements of other users are hidden: grant pg_read_all_stats"
        )
    return seen


_OURS = """
n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'
and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass
                and d.objid = c.oid and d.deptype = 'e')
"""
_SIZE = """
case when exists (select from pg_locks l where l.relation = {oid}
                  and l.mode = 'AccessExclusiveLock' and l.granted
                  and l.database = (select oid from pg_database where datname = current_database()))
     then {pages} * 8192::bigint else {function}({oid}) end
"""

_SERVER = """
select current_database() as database, now() as now, pg_postmaster_start_time() as started_at,
       s.stats_reset as counted_since, pg_database_size(d.oid) as bytes,
       age(d.datfrozenxid) as transaction_age, mxid_age(d.datminmxid) as multixact_age,
       s.blks_hit as blocks_hit, s.blks_read as blocks_read,
       d.datcollate as collation, pg_is_in_recovery() as in_recovery,
       (select count(*) from pg_stat_replication
        where application_name not in ('pg_basebackup', 'pg_receivewal')) as replicas
from pg_database d join pg_stat_database s on s.datid = d.oid
where d.datname = current_database()
"""

_SETTINGS = """
select name, case unit
    when '8kB' then (setting::numeric * 8192)::text
    when 'kB' then (setting::numeric * 1024)::text
    when 'MB' then (setting::numeric * 1048576)::text
    when 'ms' then (setting::numeric / 1000)::text
    when 'min' then (setting::numeric * 60)::text
    else setting end as value
from pg_settings
where name in ('shared_buffers', 'effective_cache_size', 'work_mem', 'maintenance_work_mem',
    'max_connections', 'random_page_cost', 'seq_page_cost', 'autovacuum', 'track_counts', 'fsync',
    'full_page_writes', 'synchronous_commit', 'checkpoint_completion_target', 'max_wal_size',
    'wal_buffers', 'log_lock_waits', 'log_min_duration_statement', 'superuser_reserved_connections',
    'idle_in_transaction_session_timeout', 'autovacuum_freeze_max_age', 'enable_seqscan',
    'enable_indexscan', 'zero_damaged_pages', 'max_parallel_workers_per_gather')
"""

_TABLES = f"""
with widths as (
    select schemaname, tablename, count(*) as seen, sum((1 - null_frac) * avg_width) as width
    from pg_stats where not inherited group by 1, 2
)
select c.oid::bigint as oid, n.nspname as schema, c.relname as name, c.reltuples::float8 as rows,
       {_SIZE.format(oid="c.oid", pages="c.relpages", function="pg_table_size")} as bytes,
       c.relpages as pages, c.relallvisible as visible_pages,
       coalesce(s.n_live_tup, 0) as live, coalesce(s.n_dead_tup, 0) as dead,
       coalesce(s.n_tup_ins + s.n_tup_upd + s.n_tup_del, 0) as written,
       coalesce(s.seq_scan, 0) + coalesce(s.idx_scan, 0) as scans,
       coalesce(s.n_mod_since_analyze, 0) as modified,
       coalesce(s.analyze_count + s.autoanalyze_count, 0) as analyzed,
       coalesce(s.vacuum_count + s.autovacuum_count, 0) as vacuumed,
       age(c.relfrozenxid) as frozen_age, c.relispartition as partition,
       coalesce(w.width, 0)::float8 as width, coalesce(w.seen, 0) as seen,
       (select count(*) from pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns,
       c.reloptions as options, has_table_privilege(c.oid, 'select') as readable
from pg_class c join pg_namespace n on n.oid = c.relnamespace
left join pg_stat_all_tables s on s.relid = c.oid
left join widths w on w.schemaname = n.nspname and w.tablename = c.relname
where c.relkind in ('r', 'm') and c.relpersistence <> 't' and {_OURS}
order by n.nspname, c.relname
"""  # noqa: S608 - put together from our own constants

_INDEXES = f"""
select i.indexrelid::bigint as oid, n.nspname as schema, c.relname as name,
       i.indrelid::bigint as table, pg_get_indexdef(i.indexrelid) as definition,
       m.amname as method,
       (select array_agg(pg_get_indexdef(i.indexrelid, k + 1, true) || ' ' || i.indclass[k] || ' '
                         || i.indcollation[k] || ' ' || i.indoption[k] order by k)
        from generate_series(0, i.indnkeyatts - 1) k) as keys,
       (i.indkey::int2[])[0:i.indnkeyatts - 1]::int[] as columns,
       (i.indkey::int2[])[i.indnkeyatts:]::int[] as included,
       coalesce(pg_get_expr(i.indpred, i.indrelid), '') as predicate,
       i.indisunique as unique, i.indisprimary as primary, coalesce(k.conname, '') as constraint,
       i.indisreplident or i.indisclustered or exists (
           select from pg_constraint f where f.contype = 'f' and f.conindid = i.indexrelid)
           as identity, i.indisvalid and i.indisready as valid,
       exists (select from pg_stat_progress_create_index p where p.index_relid = i.indexrelid)
       or (not i.indisvalid and exists (
            select from pg_locks l where l.relation in (i.indexrelid, i.indrelid) and l.granted
            and l.mode = 'ShareUpdateExclusiveLock' and l.database =
                (select oid from pg_database where datname = current_database()))) as building,
       c.relkind = 'I' or c.relispartition as partitioned,
       case when c.relkind = 'I' then 0
            else {_SIZE.format(oid="c.oid", pages="c.relpages", function="pg_relation_size")} end
           as bytes,
       greatest(c.reltuples, 0)::float8 as rows, coalesce(s.idx_scan, 0) as scans,
       (select case when count(st.avg_width) = i.indnatts then sum(st.avg_width) end::float8
        from unnest(i.indkey::int2[]) as key(attnum)
        join pg_attribute a on a.attrelid = i.indrelid and a.attnum = key.attnum
        left join pg_stats st on st.schemaname = n.nspname and st.tablename = t.relname
            and st.attname = a.attname and not st.inherited) as width,
       (select option_value::int from pg_options_to_table(c.reloptions)
        where option_name = 'fillfactor') as fill
from pg_index i join pg_class c on c.oid = i.indexrelid join pg_am m on m.oid = c.relam
join pg_class t on t.oid = i.indrelid join pg_namespace n on n.oid = t.relnamespace
left join pg_constraint k on k.conindid = i.indexrelid and k.contype in ('p', 'u', 'x')
left join pg_stat_all_indexes s on s.indexrelid = i.indexrelid
where t.relkind in ('r', 'm', 'p') and t.relpersistence <> 't' and {_OURS}
order by n.nspname, t.relname, c.relname
"""  # noqa: S608 - put together from our own constants

_FOREIGN_KEYS = """
select k.conname as name, k.conrelid::bigint as table, k.conkey::int[] as columns,
       (select array_agg(a.attname::text order by p.position)
        from unnest(k.conkey) with ordinality as p(attnum, position)
        join pg_attribute a on a.attrelid = k.conrelid and a.attnum = p.attnum) as column_names,
       quote_ident(rn.nspname) || '.' || quote_ident(r.relname) as references,
       coalesce(s.n_tup_upd + s.n_tup_del, 0) as referenced_changes
from pg_constraint k join pg_class c on c.oid = k.conrelid
join pg_class r on r.oid = k.confrelid join pg_namespace rn on rn.oid = r.relnamespace
left join pg_stat_all_tables s on s.relid = r.oid
where k.contype = 'f' and c.relkind = 'r'
"""

_CONSTRAINTS = """
select k.conname as name, k.conrelid::bigint as table
from pg_constraint k join pg_class c on c.oid = k.conrelid
where k.contype in ('c', 'f') and not k.convalidated and c.relkind = 'r'
"""

_SEQUENCES = f"""
select n.nspname as schema, c.relname as name, q.seqincrement as increment,
       case when has_sequence_privilege(c.oid, 'select, usage')
            then pg_sequence_last_value(c.oid) end as last,
       q.seqmin as lowest, q.seqmax as highest, q.seqcycle as cycles,
       has_sequence_privilege(c.oid, 'select, usage') as visible,
       coalesce(o.relname || '.' || a.attname, '') as column,
       format_type(a.atttypid, null) as type
from pg_sequence q join pg_class c on c.oid = q.seqrelid
join pg_namespace n on n.oid = c.relnamespace
left join pg_depend d on d.classid = 'pg_class'::regclass and d.objid = c.oid
    and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i')
left join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
left join pg_class o on o.oid = a.attrelid
where c.relpersistence <> 't' and {_OURS}
"""  # noqa: S608 - put together from our own constants

_SESSIONS = """
select pid, coalesce(usename, '') as user, application_name as application,
       coalesce(state, '') as state,
       coalesce(extract(epoch from clock_timestamp() - state_change), 0)::float8 as seconds,
       extract(epoch from clock_timestamp() - xact_start)::float8 as transaction_seconds,
       coalesce(wait_event_type || ': ' || wait_event, '') as wait,
       case when wait_event_type = 'Lock' then pg_blocking_pids(pid) end as blocked_by,
       left(query, 2000) as query
from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid()
    and backend_type = 'client backend'
order by xact_start nulls last
"""

_SLOTS = """
select slot_name as name, active,
       coalesce(pg_wal_lsn_diff(case when pg_is_in_recovery() then pg_last_wal_replay_lsn()
           else pg_current_wal_lsn() end, restart_lsn), 0)::bigint as retained_bytes
from pg_replication_slots where not temporary
"""

_STATEMENTS = """
select query as text, sum(calls)::bigint as calls, sum(total_exec_time)::float8 as total_ms,
       sum(rows)::bigint as rows
from {schema}.pg_stat_statements s join pg_database d on d.oid = s.dbid
where d.datname = current_database()
    and (query = '<insufficient privilege>'
         or query ~* '^\\s*(/\\*.*?\\*/\\s*)?(select|with|insert|update|delete|merge)\\y')
    and query !~* '\\ypg_(catalog|stat_|class|locks|settings)'
group by query order by sum(total_exec_time) desc limit {most}
"""
