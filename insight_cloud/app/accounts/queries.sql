-- Accounts. Times are parameters, so that the clock of the application decides everywhere.
-- Whoever changes the tokens of a user locks the user's row first: that row is the one lock.

-- name: find_session
select u.id as user_id, u.public_id, u.email, u.name, u.is_admin, s.expires_at
from sessions s join users u on u.id = s.user_id
where s.hash = %(hash)s and s.expires_at > %(now)s and u.disabled_at is null;

-- name: find_api_token
select
    t.id, t.name as token_name, t.scopes, t.project_id, p.slug as project, t.last_used_at,
    t.user_id, u.public_id, u.email, u.name, u.is_admin
from api_tokens t
left join users u on u.id = t.user_id
left join projects p on p.id = t.project_id
where t.hash = %(hash)s and t.revoked_at is null
    and (t.expires_at is null or t.expires_at > %(now)s) and u.disabled_at is null;

-- name: touch_api_token
update api_tokens set last_used_at = %(now)s
where id = %(id)s and (last_used_at is null or last_used_at <= %(before)s);

-- name: find_account
select id, public_id, email, name, password_hash, is_admin, created_at, disabled_at, verified_at
from users where lower(email) = lower(%(email)s);

-- name: list_users
select public_id as id, email, name, is_admin, created_at, disabled_at, verified_at
from users order by lower(email);

-- name: add_user
insert into users (email, name, password_hash, is_admin, created_at, verified_at)
values (%(email)s, %(name)s, %(password_hash)s, %(is_admin)s, %(now)s,
    case when %(is_verified)s then %(now)s end)
on conflict do nothing
returning id, public_id, email, name, password_hash, is_admin, created_at, disabled_at, verified_at;

-- name: replace_password
update users set password_hash = %(password_hash)s
where id = %(user_id)s and password_hash = %(old)s;

-- name: set_password
update users set password_hash = %(password_hash)s
where id = %(user_id)s and disabled_at is null
returning id, public_id, email, name, password_hash, is_admin, created_at, disabled_at, verified_at;

-- name: set_disabled
update users set disabled_at = %(disabled_at)s
where lower(email) = lower(%(email)s)
returning id, public_id, email, name, password_hash, is_admin, created_at, disabled_at, verified_at;

-- name: set_admin
update users set is_admin = %(is_admin)s
where lower(email) = lower(%(email)s)
returning id, public_id, email, name, password_hash, is_admin, created_at, disabled_at, verified_at;

-- name: set_verified
update users set verified_at = coalesce(verified_at, %(now)s) where id = %(user_id)s;

-- name: drop_verify_links
delete from links where purpose = 'verify' and user_id = %(user_id)s;

-- name: has_admin
select exists (select from users where is_admin and disabled_at is null);

-- A session begins only while the password that was proved is still the user's: `for share`
-- waits for a change of the password that is under way, and then looks again.
-- name: add_session
insert into sessions (hash, user_id, family, created_at, expires_at, user_agent)
select %(hash)s, id, %(family)s, %(now)s, %(expires_at)s, %(user_agent)s from users
where id = %(user_id)s and password_hash = %(password_hash)s and disabled_at is null
for share;

-- name: add_access_token
insert into sessions (hash, user_id, family, created_at, expires_at)
values (%(hash)s, %(user_id)s, %(family)s, %(now)s, %(expires_at)s);

-- name: add_refresh_token
insert into refresh_tokens (hash, family, user_id, created_at, expires_at)
values (%(hash)s, %(family)s, %(user_id)s, %(now)s, %(expires_at)s);

-- name: lock_owner_of_refresh_token
select u.id from refresh_tokens r join users u on u.id = r.user_id
where r.hash = %(hash)s for no key update of u;

-- name: lock_owner_of_session
select u.id from sessions s join users u on u.id = s.user_id
where s.hash = %(hash)s for no key update of u;

-- name: find_refresh_token
select r.family, r.user_id, r.expires_at > %(now)s and u.disabled_at is null as is_valid,
    r.used_at is not null as is_used
from refresh_tokens r join users u on u.id = r.user_id where r.hash = %(hash)s;

-- name: use_refresh_token
update refresh_tokens set used_at = %(now)s where hash = %(hash)s;

-- name: end_session
delete from sessions where hash = %(hash)s returning family;

-- name: end_access_of_family
delete from sessions where family = %(family)s returning hash;

-- name: end_refresh_of_family
delete from refresh_tokens where family = %(family)s;

-- name: end_sessions_of_user
delete from sessions where user_id = %(user_id)s returning hash;

-- name: end_refresh_of_user
delete from refresh_tokens where user_id = %(user_id)s;

-- A session is named by the first half of its hash: enough to find it, useless to enter by it.
-- name: list_browsers
select left(encode(hash, 'hex'), 32) as id, user_agent, created_at, expires_at,
    hash = %(this)s as is_this
from sessions
where user_id = %(user_id)s and family is null and expires_at > %(now)s
order by created_at desc limit %(limit)s;

-- name: end_browser
delete from sessions
where user_id = %(user_id)s and family is null and left(encode(hash, 'hex'), 32) = %(id)s
returning hash;

-- name: list_api_tokens
select t.public_id as id, t.prefix, t.name, t.scopes, p.slug as project, u.email as user,
    t.created_at, t.expires_at, t.last_used_at
from api_tokens t
left join users u on u.id = t.user_id
left join projects p on p.id = t.project_id
where t.revoked_at is null
    and (t.user_id = %(user_id)s or (t.user_id is null and %(with_operators)s))
order by t.id desc limit %(limit)s;

-- name: list_all_api_tokens
select t.public_id as id, t.prefix, t.name, t.scopes, p.slug as project, u.email as user,
    t.created_at, t.expires_at, t.last_used_at
from api_tokens t
left join users u on u.id = t.user_id
left join projects p on p.id = t.project_id
where t.revoked_at is null
order by t.id desc limit %(limit)s;

-- name: list_api_tokens_of_project
select t.public_id as id, t.prefix, t.name, t.scopes, p.slug as project, u.email as user,
    t.created_at, t.expires_at, t.last_used_at
from api_tokens t
join projects p on p.id = t.project_id
left join users u on u.id = t.user_id
where t.project_id = %(project_id)s and t.revoked_at is null
order by t.id desc limit %(limit)s;

-- name: revoke_api_token_of_project
update api_tokens set revoked_at = %(now)s
where public_id = %(id)s and revoked_at is null and project_id = %(project_id)s;

-- name: count_api_tokens
select count(*) from api_tokens where user_id = %(user_id)s and revoked_at is null;

-- name: add_api_token
with added as (
    insert into api_tokens
        (hash, prefix, name, scopes, user_id, project_id, created_at, expires_at)
    values (%(hash)s, %(prefix)s, %(name)s, %(scopes)s, %(user_id)s, %(project_id)s,
        %(now)s, %(expires_at)s)
    returning *
)
select t.public_id as id, t.prefix, t.name, t.scopes, p.slug as project, u.email as user,
    t.created_at, t.expires_at, t.last_used_at
from added t
left join users u on u.id = t.user_id
left join projects p on p.id = t.project_id;

-- name: revoke_api_token
update api_tokens set revoked_at = %(now)s
where public_id = %(id)s and revoked_at is null and (user_id = %(user_id)s or %(any_owner)s);

-- name: find_role
select p.id as project_id, m.role
from projects p left join members m on m.project_id = p.id and m.user_id = %(user_id)s
where p.slug = %(slug)s;

-- name: add_link
insert into links (hash, purpose, user_id, created_at, expires_at)
values (%(hash)s, %(purpose)s, %(user_id)s, %(now)s, %(expires_at)s);

-- name: find_link
select l.purpose, l.expires_at, u.email, u.name
from links l left join users u on u.id = l.user_id
where l.hash = %(hash)s and l.expires_at > %(now)s and u.disabled_at is null;

-- Whoever deletes the row has the link: a second one waits here and then finds nothing.
-- name: take_link
delete from links where hash = %(hash)s and expires_at > %(now)s returning purpose, user_id;

-- name: drop_first_admin_links
delete from links where purpose = 'first-admin';

-- name: drop_password_links
delete from links where purpose = 'password' and user_id = %(user_id)s;

-- name: clean_sessions
delete from sessions where hash in (
    select hash from sessions where expires_at <= %(now)s
    limit %(batch)s for update skip locked
);

-- name: clean_refresh_tokens
delete from refresh_tokens where hash in (
    select hash from refresh_tokens where expires_at <= %(now)s
    limit %(batch)s for update skip locked
);

-- name: clean_links
delete from links where hash in (
    select hash from links where expires_at <= %(now)s
    limit %(batch)s for update skip locked
);

-- name: add_sign_in
insert into sign_ins (hash, browser, nonce, verifier, next, expires_at)
values (%(hash)s, %(browser)s, %(nonce)s, %(verifier)s, %(next)s, %(expires_at)s);

-- Whoever deletes the row has it; one that has expired goes as well.
-- name: take_sign_in
delete from sign_ins where hash = %(hash)s
returning browser, nonce, verifier, next as next_path, expires_at;

-- name: clean_sign_ins
delete from sign_ins where hash in (
    select hash from sign_ins where expires_at <= %(now)s
    limit %(batch)s for update skip locked
);

-- name: find_identity
select u.id, u.public_id, u.email, u.name, u.password_hash, u.is_admin, u.created_at,
    u.disabled_at, u.verified_at
from identities i join users u on u.id = i.user_id
where i.issuer = %(issuer)s and i.subject = %(subject)s;

-- name: add_identity
insert into identities (issuer, subject, user_id, created_at, used_at)
values (%(issuer)s, %(subject)s, %(user_id)s, %(now)s, %(now)s);

-- name: touch_identity
update identities set used_at = %(now)s where issuer = %(issuer)s and subject = %(subject)s;
