-- name: ensure_branch
insert into branches (project_id, name, kind, base, pr, head)
values (%(project_id)s, %(name)s, %(kind)s, %(base)s, %(pr)s, %(head)s)
on conflict (project_id, name) do nothing;

-- name: lock_branch
-- One upload at a time for a branch; the others wait here. Released with the transaction.
select id, name, kind, base, pr, counted from branches
where project_id = %(project_id)s and name = %(name)s for update;

-- name: change_branch
-- An upload says what its branch is compared with now; a pull request that gets one is open.
update branches
set base = %(base)s, head = coalesce(nullif(%(head)s, ''), head), closed_at = null,
    lines = coalesce(%(lines)s, lines), counted = %(counted)s
where id = %(number)s;

-- name: forget_counts
delete from branch_stats where branch_id = %(number)s;

-- name: has_issues
select exists (select from issues where branch_id = %(number)s);

-- name: keep_changes
update analyses set changes = %(changes)s::jsonb where id = %(number)s;

-- name: counts_of
select severity, category, open from branch_stats where branch_id = %(branch_id)s;

-- name: base
-- What to compare with: the named branch where it holds its full state, else the default one;
-- as the newest analysis of the merge base left it, else the newest of all.
select b.id as number, a.id as analysis_id, b.name, a.commit
from branches b join analyses a on a.branch_id = b.id
where b.project_id = %(project_id)s and b.kind = 'long' and b.name in (%(base)s, %(default_branch)s)
order by b.name = %(base)s desc, a.commit = %(base_commit)s and a.commit <> '' desc, a.id desc
limit 1;

-- name: newest
select a.id as number, a.commit, a.base_commit, a.body_hash from analyses a
where a.branch_id = %(branch_id)s and a.category = %(category)s
order by a.id desc limit 1;

-- name: begin
-- The row is there first, because issues refer to it; `finish` fills in the counts.
insert into analyses (branch_id, commit, category, body_hash, complete, new, fixed, reopened,
                      unchanged, open, suppressed, warnings, warnings_total, seconds, uploader,
                      created_at, base_analysis_id, base_commit, lines)
values (%(branch_id)s, %(commit)s, %(category)s, %(body_hash)s, %(complete)s, 0, 0, 0, 0, 0, 0,
        %(warnings)s::jsonb, %(warnings_total)s, 0, %(uploader)s, %(created_at)s,
        %(base_analysis_id)s, %(base_commit)s, %(lines)s)
returning id;

-- name: finish
update analyses
set new = %(new)s, fixed = %(fixed)s, reopened = %(reopened)s, unchanged = %(unchanged)s,
    suppressed = %(suppressed)s, seconds = %(seconds)s,
    open = (select coalesce(sum(open), 0) from branch_stats where branch_id = %(branch_id)s)
where id = %(number)s;

-- name: add_runs
insert into runs (analysis_id, tool, version, category, state, detail, results, seconds)
select %(analysis_id)s, u.* from unnest(
    %(tools)s::text[], %(versions)s::text[], %(categories)s::text[], %(states)s::text[],
    %(details)s::text[], %(results)s::int[], %(seconds)s::float8[]) as u;

-- name: by_number
select a.id as number, a.public_id as id, b.name as branch, a.commit, a.category, a.complete,
       a.new, a.fixed, a.reopened, a.unchanged, a.open, a.suppressed, a.warnings_total,
       a.seconds, a.uploader, a.created_at, b.base, b.pr, a.lines, a.gate ->> 'verdict' as verdict
from analyses a join branches b on b.id = a.branch_id
where a.id = %(number)s;

-- name: by_id
select a.id as number, a.public_id as id, b.name as branch, a.commit, a.category, a.complete,
       a.new, a.fixed, a.reopened, a.unchanged, a.open, a.suppressed, a.warnings_total,
       a.seconds, a.uploader, a.created_at, b.base, b.pr, a.lines, a.gate ->> 'verdict' as verdict
from analyses a join branches b on b.id = a.branch_id
where a.public_id = %(id)s and b.project_id = %(project_id)s;

-- name: recent
select a.id as number, a.public_id as id, b.name as branch, a.commit, a.category, a.complete,
       a.new, a.fixed, a.reopened, a.unchanged, a.open, a.suppressed, a.warnings_total,
       a.seconds, a.uploader, a.created_at, b.base, b.pr, a.lines, a.gate ->> 'verdict' as verdict
from branches b join analyses a on a.branch_id = b.id
where b.project_id = %(project_id)s
  and (%(branch)s::text is null or b.name = %(branch)s)
  and a.id < %(before)s
order by a.id desc limit %(limit)s;

-- name: runs_of
select tool, version, category, state, detail, results, seconds
from runs where analysis_id = %(number)s order by id;

-- name: kept_of
select warnings, gate from analyses where id = %(number)s;

-- name: branches
-- The branches of a project by name, with what their counts and newest analyses say.
select b.name, b.kind, b.base, b.pr, b.head, b.closed_at,
       (select array[
           coalesce(sum(open) filter (where severity = 5), 0),
           coalesce(sum(open) filter (where severity = 4), 0),
           coalesce(sum(open) filter (where severity = 3), 0),
           coalesce(sum(open) filter (where severity = 2), 0),
           coalesce(sum(open) filter (where severity = 1), 0)]::int[]
        from branch_stats s where s.branch_id = b.id) as open,
       (select count(*)::int from branch_fixed f join issues i on i.id = f.issue_id
        where f.branch_id = b.id and not i.suppressed) as fixed,
       coalesce(a.commit, '') as commit, a.created_at as analysed_at,
       a.gate ->> 'verdict' as verdict, b.id as number
from branches b
left join lateral (select * from analyses where branch_id = b.id order by id desc limit 1) a on true
where b.project_id = %(project_id)s
  and (%(kind)s::text is null or b.kind = %(kind)s)
  and (%(pr)s::int is null or b.pr = %(pr)s)
  and (%(closed)s or b.closed_at is null)
  and b.id < %(before)s
order by b.id desc limit %(limit)s;

-- name: close_pull
update branches set closed_at = coalesce(closed_at, %(at)s)
where project_id = %(project_id)s and pr = %(pr)s;

-- name: knows_branch
select exists (select from branches where project_id = %(project_id)s and name = %(name)s);

-- name: find_branch
select id from branches where project_id = %(project_id)s and name = %(name)s for update;

-- name: drop_issues
-- What a branch leaves behind goes before it, in the order in which rows refer to each other.
delete from issues where branch_id = %(number)s;

-- name: changed
-- Rows that go tell nobody: what is cached about the project is out of date from here on.
update projects set version = version + 1 where id = %(project_id)s;

-- name: drop_branch
delete from branches where id = %(number)s;

-- name: with_old_fixed
-- Projects with issues that were fixed before then.
select distinct b.project_id from branches b
where exists (select from analyses a join issues i on i.fixed_analysis_id = a.id
              where a.branch_id = b.id and a.created_at < %(before)s and i.state = 'fixed');

-- name: drop_old_fixed
delete from issues where id in (
    select i.id from branches b join analyses a on a.branch_id = b.id
    join issues i on i.fixed_analysis_id = a.id
    where b.project_id = %(project_id)s and a.created_at < %(before)s and i.state = 'fixed'
    limit %(batch)s);

-- name: ended_branches
-- Short branches and pull requests that nobody analysed for long, and closed pull requests.
select b.id as number, b.project_id from branches b
where b.kind <> 'long' and (
    b.closed_at < %(closed_before)s
    or coalesce((select a.created_at from analyses a where a.branch_id = b.id
                 order by a.id desc limit 1) < %(short_before)s, false));

-- name: drop_some
delete from issues where id in (
    select i.id from issues i join branches b on b.id = i.branch_id
    where b.id = %(number)s and b.project_id = %(project_id)s limit %(batch)s);
