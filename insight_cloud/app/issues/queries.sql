-- name: share_project
-- Uploads hold this together; a judgement holds it alone (`own_project`), because it reads and
-- writes the issues of every branch. Both hold it to the end of their transaction.
select pg_advisory_xact_lock_shared(hashtextextended('issues of project', %(project_id)s));

-- name: own_project
select pg_advisory_xact_lock(hashtextextended('issues of project', %(project_id)s));

-- name: tools_of
select distinct tool from rules
where project_id = %(project_id)s and (%(tool)s::text is null or tool = %(tool)s) order by tool;

-- name: rules_of
select code, name, summary, help, help_uri from rules
where project_id = %(project_id)s and tool = %(tool)s order by code;

-- name: upsert_rules
-- A rule's texts follow its tool's newest version; an unchanged rule is not written.
insert into rules (project_id, tool, code, name, summary, help, help_uri)
select %(project_id)s, %(tool)s, code, name, summary, help, help_uri
from unnest(%(codes)s::text[], %(names)s::text[], %(summaries)s::text[], %(helps)s::text[],
            %(help_uris)s::text[]) as u (code, name, summary, help, help_uri)
order by code
on conflict (project_id, tool, code) do update
set name = excluded.name, summary = excluded.summary, help = excluded.help,
    help_uri = excluded.help_uri
where (rules.name, rules.summary, rules.help, rules.help_uri)
    is distinct from (excluded.name, excluded.summary, excluded.help, excluded.help_uri);

-- name: rule_ids
select code, id from rules
where project_id = %(project_id)s and tool = %(tool)s and code = any(%(codes)s::text[]);

-- name: insert_paths
-- In one order everywhere, so that two uploads at once cannot wait for each other.
insert into paths (project_id, path)
select %(project_id)s, path from unnest(%(paths)s::text[]) as new (path)
where not exists (select from paths p where p.project_id = %(project_id)s and p.path = new.path)
order by path
on conflict (project_id, path) do nothing;

-- name: path_ids
select path, id from paths
where project_id = %(project_id)s and path = any(%(paths)s::text[]);

-- name: open_of_run
-- What the branch knew of this tool and category, in the order of its code.
select i.id, i.rule_id, r.code, i.path_id, p.path, i.line, i.tool_key, i.context_key, i.line_key,
       i.message_key, i.end_line, i.col, i.end_col, i.severity, i.category, i.suppressed,
       i.in_source, i.triage_id, i.suppression_id
from issues i
join rules r on r.id = i.rule_id and r.project_id = %(project_id)s and r.tool = %(tool)s
left join paths p on p.id = i.path_id
where i.branch_id = %(branch_id)s and i.state = 'open' and i.run_category = %(run_category)s
order by i.path_id, i.line, i.id;

-- name: open_at
-- What a branch knew of this tool and category when one of its analyses was done: the first
-- thing that happened to an issue afterwards tells what it was until then.
with later as (
    select distinct on (e.issue_id) e.issue_id, e.event
    from analyses a join issue_events e on e.analysis_id = a.id
    where a.branch_id = %(branch_id)s and a.id > %(analysis_id)s
    order by e.issue_id, e.id
)
select i.id, i.rule_id, r.code, i.path_id, p.path, i.line, i.tool_key, i.context_key, i.line_key,
       i.message_key, i.end_line, i.col, i.end_col, i.severity, i.category, i.suppressed,
       i.in_source, i.triage_id, i.suppression_id
from issues i
join rules r on r.id = i.rule_id and r.project_id = %(project_id)s and r.tool = %(tool)s
left join paths p on p.id = i.path_id
left join later l on l.issue_id = i.id
where i.branch_id = %(branch_id)s and i.run_category = %(run_category)s
  and (l.issue_id is null and i.state = 'open' or l.event = 'fixed')
order by i.path_id, i.line, i.id;

-- name: forget_fixed
delete from branch_fixed f using issues i, rules r
where f.branch_id = %(branch_id)s and i.id = f.issue_id and r.id = i.rule_id
  and r.project_id = %(project_id)s and r.tool = %(tool)s and i.run_category = %(run_category)s;

-- name: keep_fixed
insert into branch_fixed (branch_id, issue_id)
select %(branch_id)s, id from unnest(%(ids)s::bigint[]) as id on conflict do nothing;

-- name: fixed_of_run
-- Fixed issues that a finding may have brought back: same context, or same message.
select i.id, i.rule_id, r.code, i.path_id, p.path, i.line, i.tool_key, i.context_key, i.line_key,
       i.message_key, i.end_line, i.col, i.end_col, i.severity, i.category, i.suppressed,
       i.in_source, i.triage_id, i.suppression_id
from issues i
join rules r on r.id = i.rule_id
left join paths p on p.id = i.path_id
where i.branch_id = %(branch_id)s and i.state = 'fixed' and i.run_category = %(run_category)s
  and i.rule_id = any(%(rule_ids)s::bigint[])
  and (i.context_key = any(%(context_keys)s::bigint[]) or i.message_key = any(%(message_keys)s::bigint[]))
order by i.path_id, i.line, i.id;

-- name: has_fixed
select exists (select from issues where branch_id = %(branch_id)s and state = 'fixed');

-- name: rewrite
-- A finding that moved or changed its words stays the same issue; `open` brings a fixed one back.
update issues i
set rule_id = u.rule_id, path_id = u.path_id, line = u.line, end_line = u.end_line, col = u.col,
    end_col = u.end_col, severity = u.severity, category = u.category,
    suppressed = u.suppressed, in_source = u.in_source, triage_id = u.triage_id,
    suppression_id = u.suppression_id, tool_key = u.tool_key, context_key = u.context_key,
    line_key = u.line_key, message_key = u.message_key, message = u.message,
    details = u.details, state = 'open', fixed_analysis_id = null
from unnest(
    %(id)s::bigint[], %(rule_id)s::bigint[], %(path_id)s::bigint[], %(line)s::int[],
    %(end_line)s::int[], %(col)s::int[], %(end_col)s::int[], %(severity)s::smallint[],
    %(category)s::text[], %(suppressed)s::boolean[], %(in_source)s::boolean[],
    %(triage_id)s::bigint[], %(suppression_id)s::bigint[], %(tool_key)s::bigint[],
    %(context_key)s::bigint[], %(line_key)s::bigint[], %(message_key)s::bigint[],
    %(message)s::text[], %(details)s::jsonb[]
) as u (id, rule_id, path_id, line, end_line, col, end_col, severity, category, suppressed,
        in_source, triage_id, suppression_id, tool_key, context_key, line_key, message_key, message, details)
where i.id = u.id;

-- name: judged_of_run
-- What was decided about single issues of this tool and category.
select t.id, r.code, p.path, t.line, t.tool_key, t.context_key, t.line_key, t.message_key
from triage t
join rules r on r.id = t.rule_id and r.tool = %(tool)s
left join paths p on p.id = t.path_id
where t.project_id = %(project_id)s and t.run_category = %(run_category)s
order by t.id;

-- name: suppressions_of_tool
select id, tool, rule, path from suppressions
where project_id = %(project_id)s and (tool is null or tool = %(tool)s) order by id;

-- name: move_triage
-- A judgement follows its issue where the default branch moved it, so that a branch that is
-- made afterwards finds it there.
update triage t
set path_id = u.path_id, line = u.line, tool_key = u.tool_key, context_key = u.context_key,
    line_key = u.line_key, message_key = u.message_key
from unnest(%(id)s::bigint[], %(path_id)s::bigint[], %(line)s::int[], %(tool_key)s::bigint[],
            %(context_key)s::bigint[], %(line_key)s::bigint[], %(message_key)s::bigint[])
    as u (id, path_id, line, tool_key, context_key, line_key, message_key)
where t.id = u.id;

-- name: close
update issues set state = 'fixed', fixed_analysis_id = %(analysis_id)s
where id = any(%(ids)s::bigint[]);

-- name: record_new
insert into issue_events (issue_id, analysis_id, event, created_at)
select id, %(analysis_id)s, 'new', created_at from issues
where branch_id = %(branch_id)s and first_analysis_id = %(analysis_id)s;

-- name: record
insert into issue_events (issue_id, analysis_id, event, created_at)
select id, %(analysis_id)s, %(event)s, %(at)s from unnest(%(ids)s::bigint[]) as id;

-- name: add_to_branch
insert into branch_stats (branch_id, severity, category, open)
select %(branch_id)s, severity, category, change
from unnest(%(severities)s::smallint[], %(categories)s::text[], %(changes)s::int[])
    as u (severity, category, change)
on conflict (branch_id, severity, category) do update
set open = branch_stats.open + excluded.open;

-- name: set_day
-- The day's last word on what is open; what came and went adds up over the day's analyses.
insert into daily_stats (branch_id, day, severity, open, new, fixed)
select %(branch_id)s, %(day)s, u.severity,
       coalesce((select sum(open) from branch_stats b
                 where b.branch_id = %(branch_id)s and b.severity = u.severity), 0),
       u.new, u.fixed
from unnest(array[1, 2, 3, 4, 5]::smallint[], %(new)s::int[], %(fixed)s::int[])
    as u (severity, new, fixed)
on conflict (branch_id, day, severity) do update
set open = excluded.open,
    new = least(daily_stats.new::bigint + excluded.new, 2147483647)::int,
    fixed = least(daily_stats.fixed::bigint + excluded.fixed, 2147483647)::int;

-- name: open_by_severity
select severity, sum(open)::int from branch_stats where branch_id = %(branch_id)s
group by severity;

-- name: open_by_category
select category, sum(open)::int as open, max(severity) as worst from branch_stats
where branch_id = %(branch_id)s and open > 0 group by category order by open desc, category;

-- name: branch_id
select b.id from branches b
where b.project_id = %(project_id)s and b.name = %(branch)s;

-- name: one
select i.id as number, i.public_id as id, r.tool, r.code as rule,
       (array['info', 'low', 'medium', 'high', 'critical'])[i.severity] as severity,
       i.category, i.state, i.suppressed, i.message, p.path, i.line, i.created_at,
       t.state as triage, i.in_source,
       t.reason as triage_reason, t.until as triage_until, t.author as triage_author,
       t.created_at as triage_created_at, s.public_id as suppression_id,
       s.reason as suppression_reason, s.until as suppression_until,
       s.author as suppression_author, s.created_at as suppression_created_at,
       b.name as branch, i.end_line, i.col, i.end_col,
       r.name as rule_name, r.summary as rule_summary, r.help as rule_help,
       r.help_uri as rule_help_uri, a.public_id as first_analysis, i.details
from issues i
join branches b on b.id = i.branch_id
join rules r on r.id = i.rule_id
join analyses a on a.id = i.first_analysis_id
left join paths p on p.id = i.path_id
left join triage t on t.id = i.triage_id
left join suppressions s on s.id = i.suppression_id
where i.public_id = %(id)s and b.project_id = %(project_id)s;

-- name: events
select e.event, a.public_id as analysis, coalesce(a.commit, '') as commit, e.created_at,
       e.actor, e.triage, e.reason, e.until
from issue_events e left join analyses a on a.id = e.analysis_id
where e.issue_id = %(number)s order by e.id;

-- name: trend
select day, severity, open, new, fixed from daily_stats
where branch_id = %(branch_id)s and day > %(since)s order by day, severity;

-- name: last_day_before
-- What was open when the trend begins.
select severity, open from daily_stats
where branch_id = %(branch_id)s
  and day = (select max(day) from daily_stats where branch_id = %(branch_id)s and day <= %(since)s);

-- name: top_rules
select r.tool || ' ' || r.code as name, t.open, t.worst
from (select rule_id, count(*)::int as open, max(severity) as worst from issues
      where branch_id = %(branch_id)s and state = 'open' and not suppressed group by rule_id
      order by open desc, rule_id limit %(limit)s) t
join rules r on r.id = t.rule_id order by t.open desc, name;

-- name: top_paths
select p.path as name, t.open, t.worst
from (select path_id, count(*)::int as open, max(severity) as worst from issues
      where branch_id = %(branch_id)s and state = 'open' and not suppressed
        and path_id is not null group by path_id
      order by open desc, path_id limit %(limit)s) t
join paths p on p.id = t.path_id order by t.open desc, name;

-- name: overview
-- Every project of a list on its default branch, from the kept counts alone.
select p.slug, p.name, p.default_branch as branch,
       (select array[
           coalesce(sum(open) filter (where severity = 5), 0),
           coalesce(sum(open) filter (where severity = 4), 0),
           coalesce(sum(open) filter (where severity = 3), 0),
           coalesce(sum(open) filter (where severity = 2), 0),
           coalesce(sum(open) filter (where severity = 1), 0)]::int[]
        from branch_stats s where s.branch_id = b.id) as open,
       week.new as new_7_days, week.fixed as fixed_7_days,
       (select coalesce(array_agg(array[d.day - %(today)s::date, d.open]::int[] order by d.day), '{}')
        from (select day, sum(open)::int as open from daily_stats
              where branch_id = b.id and day > %(today)s::date - 30 group by day) d) as days,
       (select sum(open)::int from daily_stats where branch_id = b.id
          and day = (select max(day) from daily_stats
                     where branch_id = b.id and day <= %(today)s::date - 30)) as before,
       last.created_at as analysed_at, last.complete
from projects p
left join branches b on b.project_id = p.id and b.name = p.default_branch
left join lateral (
    select coalesce(sum(new), 0)::int as new, coalesce(sum(fixed), 0)::int as fixed
    from daily_stats where branch_id = b.id and day > %(today)s::date - 7) week on true
left join lateral (
    select created_at, complete from analyses where branch_id = b.id
    order by id desc limit 1) last on true
where p.id = any(%(projects)s::bigint[])
order by week.new desc, p.name;
