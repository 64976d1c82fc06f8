-- name: add
insert into sources (project_id, kind, url, ref, strip, branch, commit, base, base_commit, pr,
                     author, created_at)
values (%(project_id)s, %(kind)s, %(url)s, %(ref)s, %(strip)s, %(branch)s, %(commit)s, %(base)s,
        %(base_commit)s, %(pr)s, %(author)s, %(at)s)
returning id;

-- name: count_alive
select count(*) from sources where project_id = %(project_id)s and state in ('queued', 'running');

-- name: add_part
insert into source_parts (source_id, number, data) values (%(id)s, %(number)s, %(data)s);

-- name: queued
update sources set job_id = %(job_id)s, size_bytes = %(size_bytes)s where id = %(id)s
returning public_id;

-- name: part
select data from source_parts where source_id = %(id)s and number = %(number)s;

-- name: by_id
select s.id as number, s.public_id as id, s.kind, s.url, s.ref, s.branch, s.commit, s.pr, s.author,
       s.size_bytes, s.state, s.steps, s.detail, s.tries, a.public_id as analysis, s.created_at,
       s.started_at, s.ended_at
from sources s left join analyses a on a.id = s.analysis_id
where s.project_id = %(project_id)s and s.public_id = %(id)s;

-- name: recent
select s.id as number, s.public_id as id, s.kind, s.url, s.ref, s.branch, s.commit, s.pr, s.author,
       s.size_bytes, s.state, s.steps, s.detail, s.tries, a.public_id as analysis, s.created_at,
       s.started_at, s.ended_at
from sources s left join analyses a on a.id = s.analysis_id
where s.project_id = %(project_id)s and s.id < %(before)s
order by s.id desc limit %(limit)s;

-- name: begin
-- Only the job that belongs to it may: an older one was given up.
update sources set state = 'running', tries = tries + 1, steps = '[]',
    started_at = coalesce(started_at, %(at)s)
where id = %(id)s and job_id = %(job_id)s and state in ('queued', 'running')
returning id, (select slug from projects where id = project_id) as slug, kind, url, ref, strip,
    branch, commit, base, base_commit, pr, author;

-- name: progress
update sources set steps = %(steps)s::jsonb
where id = %(id)s and job_id = %(job_id)s and state = 'running';

-- name: end
update sources set state = %(state)s, detail = %(detail)s, analysis_id = %(analysis_id)s,
    commit = %(commit)s, ended_at = %(at)s
where id = %(id)s and state in ('queued', 'running');

-- name: cancel
update sources set state = 'cancelled', detail = %(detail)s, ended_at = %(at)s
where project_id = %(project_id)s and public_id = %(id)s and state in ('queued', 'running')
returning id, job_id;

-- name: drop_parts
delete from source_parts where source_id = %(id)s;

-- name: given_up
-- Whose job has ended without it: its workers died, each time.
select s.id from sources s
where s.state in ('queued', 'running') and s.job_id is not null and not exists (
    select from procrastinate_jobs j where j.id = s.job_id and j.status in ('todo', 'doing'))
for update of s skip locked;

-- name: clean
delete from sources where id in (
    select id from sources where ended_at < %(before)s order by ended_at limit %(batch)s);
