-- name: read
select conditions, author, changed_at from gates where project_id = %(project_id)s;

-- name: set
insert into gates (project_id, conditions, author, changed_at)
values (%(project_id)s, %(conditions)s::jsonb, %(author)s, %(at)s)
on conflict (project_id) do update
set conditions = excluded.conditions, author = excluded.author, changed_at = excluded.changed_at;

-- name: unset
delete from gates where project_id = %(project_id)s;

-- name: analysis
-- The analysis to judge, the branch that it is of, and what that is compared with.
select a.id as number, a.commit, a.base_commit, a.base_analysis_id, b.id as branch_id, b.kind,
       b.base, b.lines, b.project_id, c.commit as compared_commit,
       not exists (select from analyses o
                   where o.branch_id = a.branch_id and o.id < a.id
                     and (a.commit = '' or o.commit <> a.commit)) as is_first,
       a.public_id, b.name as branch, b.pr, p.slug as project, b.counted,
       coalesce(a.gate ->> 'verdict', (
           select o.gate ->> 'verdict' from analyses o
           where o.branch_id = a.branch_id and o.id < a.id order by o.id desc limit 1
       )) as verdict_before
from analyses a join branches b on b.id = a.branch_id
join projects p on p.id = b.project_id
left join analyses c on c.id = a.base_analysis_id
where a.id = %(number)s;

-- name: unfinished
-- The tools that did not finish, in the newest analysis of each category of the same commit.
with newest as (
    select distinct on (category) id from analyses
    where branch_id = %(branch_id)s
      and (id = %(number)s or commit = %(commit)s and commit <> '' and id <= %(number)s)
    order by category, id desc
)
select distinct r.tool from newest n join runs r on r.analysis_id = n.id
where r.state in ('failed', 'timed_out') order by r.tool;

-- name: open
select severity, category, open from branch_stats where branch_id = %(branch_id)s and open > 0;

-- name: new
-- What the analyses of this commit brought to a long branch and is still there. What a tool
-- finds when it looks for the first time is not new code's doing, and is left out.
select i.severity, i.category, count(distinct i.id)::int
from analyses a
join issue_events e on e.analysis_id = a.id and e.event in ('new', 'reopened')
join issues i on i.id = e.issue_id and i.state = 'open' and not i.suppressed
join rules r on r.id = i.rule_id
where a.branch_id = %(branch_id)s
  and (a.id = %(number)s or a.commit = %(commit)s and a.commit <> '' and a.id <= %(number)s)
  and exists (select from analyses o join runs t on t.analysis_id = o.id
              where o.branch_id = a.branch_id and o.id < %(number)s
                and (%(commit)s = '' or o.commit <> %(commit)s)
                and t.tool = r.tool and t.state = 'ok'
                and coalesce(nullif(t.category, ''), o.category) = i.run_category)
group by i.severity, i.category;

-- name: grown
-- By how much the counts of a counted branch grew with this commit.
select (c ->> 0)::int as severity, c ->> 1 as category, sum((c ->> 2)::int)::int as grown
from analyses a cross join lateral jsonb_array_elements(a.changes) as c
where a.branch_id = %(branch_id)s
  and (a.id = %(number)s or a.commit = %(commit)s and a.commit <> '' and a.id <= %(number)s)
group by 1, 2 having sum((c ->> 2)::int) > 0;

-- name: keep
update analyses set gate = %(gate)s::jsonb where id = %(number)s;

-- name: newest_of_branches
select max(id) from analyses where branch_id = any(%(branch_ids)s::bigint[]) group by branch_id;

-- name: kept
select gate from analyses where id = %(number)s;

-- name: of_analysis
select a.gate from analyses a join branches b on b.id = a.branch_id
where a.public_id = %(id)s and b.project_id = %(project_id)s;

-- name: of_branch
-- The newest judged analysis of a branch, or of one of its commits.
select a.public_id as analysis, a.commit, b.name as branch, a.created_at, a.gate
from branches b join analyses a on a.branch_id = b.id
where b.project_id = %(project_id)s
  and (%(pr)s::int is null and b.name = %(branch)s or b.pr = %(pr)s)
  and (%(commit)s::text is null or a.commit = %(commit)s)
order by a.id desc limit 1;
