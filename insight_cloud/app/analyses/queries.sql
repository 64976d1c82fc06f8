-- name: ensure_branch
insert into branches (project_id, name) values (%(project_id)s, %(name)s)
on conflict (project_id, name) do nothing;

-- name: lock_branch
-- One upload at a time for a branch; the others wait here. Released with the transaction.
select id from branches where project_id = %(project_id)s and name = %(name)s for update;

-- name: newest
select a.id as number, a.commit, a.body_hash from analyses a
where a.branch_id = %(branch_id)s and a.category = %(category)s
order by a.id desc limit 1;

-- name: begin
-- The row is there first, because issues refer to it; `finish` fills in the counts.
insert into analyses (branch_id, commit, category, body_hash, complete, new, fixed, reopened,
                      unchanged, open, suppressed, warnings, warnings_total, seconds, uploader,
                      created_at)
values (%(branch_id)s, %(commit)s, %(category)s, %(body_hash)s, %(complete)s, 0, 0, 0, 0, 0, 0,
        %(warnings)s::jsonb, %(warnings_total)s, 0, %(uploader)s, %(created_at)s)
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
       a.seconds, a.uploader, a.created_at
from analyses a join branches b on b.id = a.branch_id
where a.id = %(number)s;

-- name: by_id
select a.id as number, a.public_id as id, b.name as branch, a.commit, a.category, a.complete,
       a.new, a.fixed, a.reopened, a.unchanged, a.open, a.suppressed, a.warnings_total,
       a.seconds, a.uploader, a.created_at
from analyses a join branches b on b.id = a.branch_id
where a.public_id = %(id)s and b.project_id = %(project_id)s;

-- name: recent
select a.id as number, a.public_id as id, b.name as branch, a.commit, a.category, a.complete,
       a.new, a.fixed, a.reopened, a.unchanged, a.open, a.suppressed, a.warnings_total,
       a.seconds, a.uploader, a.created_at
from branches b join analyses a on a.branch_id = b.id
where b.project_id = %(project_id)s
  and (%(branch)s::text is null or b.name = %(branch)s)
  and a.id < %(before)s
order by a.id desc limit %(limit)s;

-- name: runs_of
select tool, version, category, state, detail, results, seconds
from runs where analysis_id = %(number)s order by id;

-- name: warnings_of
select warnings from analyses where id = %(number)s;
