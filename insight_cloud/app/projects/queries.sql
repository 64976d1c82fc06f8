-- Projects and their members.

-- name: find_project
select p.id as number, p.public_id as id, p.slug, p.name, p.default_branch, p.hash_key,
    p.created_at, m.role, p.version, p.public_badge, p.privacy
from projects p
left join members m on m.project_id = p.id and m.user_id = %(user_id)s
where p.slug = %(slug)s;

-- name: add_project
insert into projects (slug, name, hash_key, privacy, created_at)
values (%(slug)s, %(name)s, %(hash_key)s, %(privacy)s, %(now)s)
on conflict do nothing
returning id;

-- name: list_projects_of_member
select p.id as number, p.public_id as id, p.slug, p.name, p.default_branch, p.hash_key,
    p.created_at, m.role, p.version, p.public_badge, p.privacy
from members m join projects p on p.id = m.project_id
where m.user_id = %(user_id)s and p.slug > %(after)s
    and (%(project_id)s::bigint is null or p.id = %(project_id)s)
order by p.slug limit %(limit)s::bigint;

-- name: list_all_projects
select p.id as number, p.public_id as id, p.slug, p.name, p.default_branch, p.hash_key,
    p.created_at, m.role, p.version, p.public_badge, p.privacy
from projects p left join members m on m.project_id = p.id and m.user_id = %(user_id)s
where p.slug > %(after)s and (%(project_id)s::bigint is null or p.id = %(project_id)s)
order by p.slug limit %(limit)s::bigint;

-- name: change_project
update projects set
    name = coalesce(%(name)s, name),
    default_branch = coalesce(%(default_branch)s, default_branch),
    public_badge = coalesce(%(public_badge)s, public_badge),
    privacy = coalesce(%(privacy)s, privacy),
    version = version + 1
where id = %(project_id)s;

-- name: delete_project
delete from projects where id = %(project_id)s;

-- name: lock_project
select id from projects where id = %(project_id)s for no key update;

-- name: list_members
select u.public_id as id, u.email, u.name, m.role, m.created_at
from members m join users u on u.id = m.user_id
where m.project_id = %(project_id)s
order by lower(u.email) limit %(limit)s;

-- name: find_user
select id from users where lower(email) = lower(%(email)s) and disabled_at is null;

-- name: find_member
select m.user_id, m.role from members m join users u on u.id = m.user_id
where m.project_id = %(project_id)s and lower(u.email) = lower(%(email)s);

-- name: count_members
select count(*) from members where project_id = %(project_id)s;

-- name: has_other_maintainer
select exists (
    select from members m join users u on u.id = m.user_id
    where m.project_id = %(project_id)s and m.role = 'maintainer'
        and m.user_id <> %(user_id)s and u.disabled_at is null
);

-- name: put_member
insert into members (project_id, user_id, role, created_at)
values (%(project_id)s, %(user_id)s, %(role)s, %(now)s)
on conflict (project_id, user_id) do update set role = excluded.role;

-- name: remove_member
delete from members where project_id = %(project_id)s and user_id = %(user_id)s;
