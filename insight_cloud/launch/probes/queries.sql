-- What the checklist asks a database. A query about faults returns a row for each of them.

-- name: connections
select current_setting('max_connections')::int as most,
       current_setting('superuser_reserved_connections')::int as reserved,
       current_setting('max_connections')::int
           - current_setting('superuser_reserved_connections')::int - 5 as available

-- name: timeouts
select name,
       (select s.setting
          from pg_db_role_setting r, unnest(r.setconfig) c,
               lateral (select split_part(c, '=', 1) as name, split_part(c, '=', 2) as setting) s
         where r.setrole in (0, (select oid from pg_roles where rolname = current_user))
           and r.setdatabase in (0, (select oid from pg_database where datname = current_database()))
           and s.name = wanted.name
         order by r.setrole desc, r.setdatabase desc limit 1) as setting
  from (values ('statement_timeout'), ('lock_timeout'),
               ('idle_in_transaction_session_timeout')) wanted (name)

-- name: role
select rolname as name, rolsuper as superuser, rolcreaterole as creates_roles,
       rolcreatedb as creates_databases, rolreplication as replicates
  from pg_roles where rolname = current_user

-- name: hosts
select line_number as line, type, array_to_string(user_name, ',') as users, address,
       auth_method as method
  from pg_hba_file_rules
 where error is null and type like 'host%'
   and auth_method not in ('scram-sha-256', 'cert', 'gss', 'ldap', 'radius', 'sspi', 'reject')
   and coalesce(address, '') not in ('127.0.0.1', '::1', 'localhost', 'samehost')

-- name: transport
select current_setting('ssl') as ssl, current_setting('password_encryption') as password_encryption

-- name: statement_statistics
select count(*)::int as views,
       coalesce(bool_or(has_table_privilege(c.oid, 'select')), false) as readable
  from pg_class c join pg_extension e on e.extname = 'pg_stat_statements'
  join pg_depend d on d.objid = c.oid and d.refobjid = e.oid
 where c.relname = 'pg_stat_statements'

-- name: logging
select current_setting('log_lock_waits') as lock_waits,
       (select setting::int from pg_settings where name = 'log_min_duration_statement') as slow_ms

-- name: autovacuum
select current_setting('autovacuum') as enabled,
       (select coalesce(json_agg(format('%I.%I', schemaname, relname)), '[]'::json)
          from pg_stat_user_tables
         where n_dead_tup > 10000 and n_dead_tup > 0.2 * (n_live_tup + n_dead_tup))::text as behind

-- name: never_analysed
select format('%I.%I', n.nspname, c.relname) as name, s.n_live_tup as live,
       s.n_mod_since_analyze as changed
  from pg_stat_user_tables s
  join pg_class c on c.oid = s.relid join pg_namespace n on n.oid = c.relnamespace
 where greatest(s.n_live_tup, s.n_mod_since_analyze) > 1000
   and (coalesce(s.last_analyze, s.last_autoanalyze) is null
        or s.n_mod_since_analyze > 0.5 * greatest(s.n_live_tup, 1))

-- name: wraparound
select max(age(datfrozenxid))::bigint as age from pg_database

-- name: bad_indexes
select 'invalid' as fault, indexrelid::regclass::text as name
  from pg_index where not indisvalid or not indisready
union all
select 'duplicate of ' || b.indexrelid::regclass::text, a.indexrelid::regclass::text
  from pg_index a join pg_index b
    on a.indrelid = b.indrelid and a.indexrelid > b.indexrelid
   and a.indkey = b.indkey and a.indclass = b.indclass and a.indoption = b.indoption
   and a.indcollation = b.indcollation
   and coalesce(pg_get_expr(a.indexprs, a.indrelid), '') = coalesce(pg_get_expr(b.indexprs, b.indrelid), '')
   and coalesce(pg_get_expr(a.indpred, a.indrelid), '') = coalesce(pg_get_expr(b.indpred, b.indrelid), '')
  join pg_class c on c.oid = a.indrelid join pg_namespace n on n.oid = c.relnamespace
 where n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
union all
select 'never used', s.indexrelid::regclass::text
  from pg_stat_user_indexes s join pg_index i using (indexrelid)
 where s.idx_scan = 0 and not i.indisunique and not i.indisexclusion
   and pg_relation_size(s.indexrelid) > 10 * 1024 * 1024
   and (select coalesce(stats_reset, now()) from pg_stat_database
         where datname = current_database()) < now() - interval '7 days'

-- name: unindexed_keys
select c.conname as name, c.conrelid::regclass::text as "table"
  from pg_constraint c join pg_class t on t.oid = c.conrelid
 where c.contype = 'f' and t.reltuples > 10000
   and not exists (
       select from pg_index i
        where i.indrelid = c.conrelid and i.indpred is null and i.indisvalid
          and (string_to_array(i.indkey::text, ' ')::int2[])[1:cardinality(c.conkey)] @> c.conkey)

-- name: sequences
select format('%I.%I', schemaname, sequencename) as name,
       round(last_value::numeric / max_value, 3) as used
  from pg_sequences
 where last_value is not null and last_value > 0.7 * max_value
union all
select format('%I.%I.%I', n.nspname, t.relname, a.attname), round(s.last_value::numeric / 2147483647, 3)
  from pg_sequences s
  join pg_class q on q.relname = s.sequencename
  join pg_namespace n on n.oid = q.relnamespace and n.nspname = s.schemaname
  join pg_depend d on d.objid = q.oid and d.deptype in ('a', 'i') and d.refobjsubid > 0
  join pg_class t on t.oid = d.refobjid
  join pg_attribute a on a.attrelid = t.oid and a.attnum = d.refobjsubid
 where a.atttypid = 'int4'::regtype and s.last_value > 0.7 * 2147483647
   and s.max_value > 2147483647

-- name: checksums
select current_setting('data_checksums') as checksums

-- name: memory
select (select setting::bigint * 8192 from pg_settings where name = 'shared_buffers') as shared,
       (select setting::bigint * 8192 from pg_settings where name = 'effective_cache_size') as cached,
       (select setting::bigint * 1024 from pg_settings where name = 'work_mem')
           * (select setting::bigint from pg_settings where name = 'max_connections') as sorting

-- name: slowest_statements
select left(regexp_replace(query, '\s+', ' ', 'g'), 120) as statement, calls,
       round(mean_exec_time::numeric, 1) as mean_ms
  from pg_stat_statements
 where dbid = (select oid from pg_database where datname = current_database())
 order by total_exec_time desc limit 10

-- name: quiet
select round(count(*) filter (where backend_type = 'client backend')::numeric
           / current_setting('max_connections')::int, 3) as used,
       count(*) filter (where wait_event_type = 'Lock' and now() - query_start > interval '30 seconds')
           as waiting,
       (select coalesce(max(extract(epoch from replay_lag)), 0)::float from pg_stat_replication)
           as lag_seconds
  from pg_stat_activity

-- name: dead_rows
select format('%I.%I', schemaname, relname) as name, n_dead_tup as dead,
       coalesce(last_autovacuum, last_vacuum) as vacuumed
  from pg_stat_user_tables
 where n_live_tup + n_dead_tup > 10000 and n_dead_tup > 0.2 * (n_live_tup + n_dead_tup)

-- name: schema
select n.nspname || '.' || c.relname || '.' || a.attname as name,
       format_type(a.atttypid, a.atttypmod) || case when a.attnotnull then ' not null' else '' end
           as type
  from pg_attribute a
  join pg_class c on c.oid = a.attrelid and c.relkind in ('r', 'p')
  join pg_namespace n on n.oid = c.relnamespace
 where a.attnum > 0 and not a.attisdropped and not c.relispartition
   and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_'
 order by 1
