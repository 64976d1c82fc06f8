-- name: chosen_by_id
select i.id from issues i join branches b on b.id = i.branch_id
where b.project_id = %(project_id)s and i.public_id = any(%(ids)s::uuid[]);

-- name: kin
-- The chosen issues, and every open one of the project that may be the same elsewhere: same
-- rule, and any of the chosen one's keys.
select i.id, i.branch_id, i.rule_id, i.run_category, p.path, i.line, i.tool_key, i.context_key,
       i.line_key, i.message_key, i.triage_id
from issues i
join branches b on b.id = i.branch_id and b.project_id = %(project_id)s
left join paths p on p.id = i.path_id
where i.id = any(%(ids)s::bigint[])
   or i.state = 'open'
      and i.rule_id = any(array(select rule_id from issues where id = any(%(ids)s::bigint[])))
      and (i.context_key = any(array(select context_key from issues where id = any(%(ids)s::bigint[])))
        or i.message_key = any(array(select message_key from issues where id = any(%(ids)s::bigint[])))
        or i.tool_key = any(array(select tool_key from issues where id = any(%(ids)s::bigint[]))))
order by i.branch_id, i.path_id, i.line, i.id;

-- name: add
-- One judgement for each issue, with the issue's keys. The number is drawn first, because what
-- an insert returns does not say which issue it was made from.
with drawn as materialized (
    select i.id as issue_id, nextval(pg_get_serial_sequence('triage', 'id')) as id, i.rule_id,
           i.run_category, i.path_id, i.line, i.tool_key, i.context_key, i.line_key, i.message_key
    from issues i where i.id = any(%(ids)s::bigint[])
), added as (
    insert into triage (id, project_id, rule_id, run_category, path_id, line, tool_key,
                        context_key, line_key, message_key, state, reason, until, author,
                        created_at)
    overriding system value
    select id, %(project_id)s, rule_id, run_category, path_id, line, tool_key, context_key,
           line_key, message_key, %(state)s, %(reason)s, %(until)s, %(author)s, %(at)s
    from drawn
)
select issue_id, id from drawn;

-- name: change
update triage
set state = %(state)s, reason = %(reason)s, until = %(until)s, author = %(author)s,
    created_at = %(at)s
where id = any(%(triage_ids)s::bigint[]);

-- name: hold
-- Give issues their judgement. `before` and `after` say whether each one counted.
update issues i set triage_id = u.triage_id, suppressed = true
from unnest(%(ids)s::bigint[], %(triage_ids)s::bigint[]) as u (id, triage_id)
join issues o on o.id = u.id
where i.id = u.id
returning i.id, i.branch_id, i.severity, i.category, i.state = 'open' as is_open,
          o.suppressed as before, i.suppressed as after;

-- name: held
select id from issues where triage_id = any(%(triage_ids)s::bigint[]);

-- name: release
update issues i set triage_id = null, suppressed = i.in_source or i.suppression_id is not null
from issues o
where o.id = i.id and i.triage_id = any(%(triage_ids)s::bigint[])
returning i.id, i.branch_id, i.severity, i.category, i.state = 'open' as is_open,
          o.suppressed as before, i.suppressed as after;

-- name: drop
delete from triage where id = any(%(triage_ids)s::bigint[]);

-- name: record
insert into issue_events (issue_id, event, actor, triage, reason, until, created_at)
select id, %(event)s, %(actor)s, %(state)s, %(reason)s, %(until)s, %(at)s
from unnest(%(ids)s::bigint[]) as id order by id;

-- name: suppressions
select s.public_id as id, s.tool, s.rule, s.path, s.reason, s.until, s.author, s.created_at,
       (select count(*) from issues i
        where i.suppression_id = s.id and i.state = 'open')::int as issues
from suppressions s where s.project_id = %(project_id)s order by s.id desc limit %(limit)s;

-- name: suppression
select s.public_id as id, s.tool, s.rule, s.path, s.reason, s.until, s.author, s.created_at,
       (select count(*) from issues i
        where i.suppression_id = s.id and i.state = 'open')::int as issues
from suppressions s where s.id = %(number)s;

-- name: count_suppressions
select count(*) from suppressions where project_id = %(project_id)s;

-- name: add_suppression
insert into suppressions (project_id, tool, rule, path, reason, until, author, created_at)
values (%(project_id)s, %(tool)s, %(rule)s, %(path)s, %(reason)s, %(until)s, %(author)s, %(at)s)
returning id;

-- name: every_suppression
select id, tool, rule, path from suppressions where project_id = %(project_id)s order by id;

-- name: paths_of
select id, path from paths where project_id = %(project_id)s;

-- name: suppress
update issues i set suppression_id = %(suppression_id)s, suppressed = true
from issues o
join branches b on b.id = o.branch_id and b.project_id = %(project_id)s
join rules r on r.id = o.rule_id
where o.id = i.id and o.state = 'open' and o.suppression_id is null
  and (%(tool)s::text is null or r.tool = %(tool)s)
  and (%(rule)s::text is null or r.code = %(rule)s)
  and (%(path_ids)s::bigint[] is null or o.path_id = any(%(path_ids)s::bigint[]))
returning i.id, i.branch_id, i.severity, i.category, i.state = 'open' as is_open,
          o.suppressed as before, i.suppressed as after;

-- name: find_suppression
select id from suppressions where project_id = %(project_id)s and public_id = %(id)s;

-- name: unsuppress
update issues i set suppression_id = null, suppressed = i.in_source or i.triage_id is not null
from issues o
where o.id = i.id and i.suppression_id = any(%(suppression_ids)s::bigint[])
returning i.id, i.branch_id, i.severity, i.category, i.state = 'open' as is_open,
          o.suppressed as before, i.suppressed as after;

-- name: drop_suppressions
delete from suppressions where id = any(%(suppression_ids)s::bigint[]);

-- name: due_projects
-- Projects in which something holds no longer; all of them, or one.
select distinct project_id from (
    select project_id from triage where until < %(today)s
    union all select project_id from suppressions where until < %(today)s) due
where %(project_id)s::bigint is null or project_id = %(project_id)s;

-- name: due_triage
select id from triage where project_id = %(project_id)s and until < %(today)s;

-- name: due_suppressions
select id from suppressions where project_id = %(project_id)s and until < %(today)s;
