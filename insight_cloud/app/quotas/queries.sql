-- name: lock
-- One at a time for a subject; the others wait here, and then see what it took.
select pg_advisory_xact_lock(hashtextextended(%(kind)s || ' ' || %(subject)s, 4));

-- name: used
select count(*)::int from usage
where kind = %(kind)s and subject = %(subject)s and at > %(since)s;

-- name: frees
-- When the first permit becomes free that makes room for one more.
select at from usage where kind = %(kind)s and subject = %(subject)s and at > %(since)s
order by at offset %(offset)s limit 1;

-- name: add
insert into usage (kind, subject, at) values (%(kind)s, %(subject)s, %(at)s) returning id;

-- name: remove
delete from usage where id = %(id)s;

-- name: clean
delete from usage where id in (
    select id from usage where at <= %(before)s limit %(batch)s for update skip locked
);

-- name: projects_of
select count(*)::int from members where user_id = %(user_id)s and role = 'maintainer';

-- name: uploads_of
-- The projects that a user is a member of, or all of them, and their uploads.
select p.slug as project,
    (select count(*)::int from usage u where u.kind = 'upload' and u.subject = 'project:' || p.slug
        and u.at > %(day)s) as day,
    (select count(*)::int from usage u where u.kind = 'upload' and u.subject = 'project:' || p.slug
        and u.at > %(month)s) as month
from projects p
where (%(project_id)s::bigint is null or p.id = %(project_id)s)
  and (%(sees_all)s or exists (
    select from members m where m.project_id = p.id and m.user_id = %(user_id)s))
order by 3 desc, p.slug limit %(limit)s;

-- name: users
select coalesce(w.email, t.name || ' (token)', u.subject) as who, count(*)::int as used
from usage u
left join users w on u.subject = 'user:' || w.public_id
left join api_tokens t on u.subject = 'token:' || t.id
where u.kind = 'analysis' and u.at > %(since)s
group by 1 order by 2 desc, 1 limit %(limit)s;
