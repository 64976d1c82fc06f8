-- name: branches
select b.name from branches b
where b.project_id = %(project_id)s and b.kind <> 'pr' order by b.name limit 200;

-- name: tools
select distinct tool from rules where project_id = %(project_id)s order by tool;

-- name: open_by_both
-- What is open on a branch, by category and severity: the counts that uploads keep.
select s.category, s.severity, s.open
from branches b join branch_stats s on s.branch_id = b.id
where b.project_id = %(project_id)s and b.name = %(branch)s and s.open > 0;

-- name: weeks
-- What the last seven days brought to the default branch of each project, by severity.
select p.slug, d.severity, sum(d.new)::int as new, sum(d.fixed)::int as fixed
from projects p
join branches b on b.project_id = p.id and b.name = p.default_branch
join daily_stats d on d.branch_id = b.id and d.day > %(today)s::date - 7
where p.id = any(%(projects)s::bigint[])
group by p.slug, d.severity;

-- name: newest
-- The newest analysis of the default branch of each project.
select p.slug, b.name as branch, a.public_id as id, a.commit, a.complete, a.new + a.reopened as new,
       a.fixed, a.open, a.uploader, a.created_at, coalesce(a.gate ->> 'verdict', '') as verdict,
       coalesce(a.gate -> 'grade' ->> 'letter', '') as grade
from projects p
join branches b on b.project_id = p.id and b.name = p.default_branch
join lateral (select * from analyses where branch_id = b.id order by id desc limit 1) a on true
where p.id = any(%(projects)s::bigint[]);

-- name: runs
-- The tools of some analyses, and how they ended.
select a.public_id as analysis, r.tool, r.state, r.detail
from analyses a join runs r on r.analysis_id = a.id
where a.public_id = any(%(analyses)s::uuid[])
order by r.id;

-- name: rules
-- The rules of a top list, by the name under which it lists them.
select tool || ' ' || code as label, tool, code, name, summary
from rules
where project_id = %(project_id)s and tool || ' ' || code = any(%(labels)s::text[]);

-- name: identity
-- By what an issue is recognised.
select i.tool_key is not null as by_tool, i.context_key is not null as by_context,
       i.line_key is not null as by_line
from issues i join branches b on b.id = i.branch_id
where i.public_id = %(id)s and b.project_id = %(project_id)s;

-- name: last_seen
-- The newest analysis in which the issue's tool looked and finished.
select a.public_id as id, a.commit, a.created_at
from issues i
join branches b on b.id = i.branch_id
join rules r on r.id = i.rule_id
join analyses a on a.branch_id = i.branch_id
where i.public_id = %(id)s and b.project_id = %(project_id)s and i.state = 'open'
  and exists (
    select from runs t where t.analysis_id = a.id and t.tool = r.tool and t.state = 'ok'
      and coalesce(nullif(t.category, ''), a.category) = i.run_category)
order by a.id desc limit 1;
