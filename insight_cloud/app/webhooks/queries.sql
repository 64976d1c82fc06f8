-- name: listed
select public_id as id, url, events, author, created_at, disabled_at, disabled_because
from webhooks where project_id = %(project_id)s order by id;

-- name: count
select count(*) from webhooks where project_id = %(project_id)s;

-- name: add
insert into webhooks (project_id, url, secret, events, author, created_at)
values (%(project_id)s, %(url)s, %(secret)s, %(events)s, %(author)s, %(at)s)
returning public_id as id, url, events, author, created_at, disabled_at, disabled_because;

-- name: find
select id, url from webhooks where project_id = %(project_id)s and public_id = %(id)s;

-- name: remove
delete from webhooks where project_id = %(project_id)s and public_id = %(id)s returning url;

-- name: set_enabled
update webhooks set disabled_at = %(disabled_at)s, disabled_because = %(because)s
where id = %(number)s;

-- name: enqueue
-- In the transaction of the event: what is rolled back is never told.
insert into deliveries (webhook_id, message_id, event, payload, next_try_at, created_at)
select w.id, %(message_id)s, %(event)s, %(payload)s, %(at)s, %(at)s from webhooks w
where w.project_id = %(project_id)s and w.disabled_at is null and %(event)s = any(w.events);

-- name: enqueue_one
insert into deliveries (webhook_id, message_id, event, payload, next_try_at, created_at)
values (%(number)s, %(message_id)s, %(event)s, %(payload)s, %(at)s, %(at)s)
returning public_id;

-- name: claim
-- Take what is due, each by one process only, and put it off for as long as a try may take: when
-- the process dies, somebody else tries again.
update deliveries d set next_try_at = %(until)s, tries = d.tries + 1
from webhooks w
where w.id = d.webhook_id and d.id in (
    select id from deliveries where state = 'pending' and next_try_at <= %(now)s
    order by next_try_at limit %(limit)s for update skip locked)
returning d.id, d.webhook_id, d.message_id, d.event, d.payload, d.tries, w.url, w.secret;

-- name: ended
update deliveries
set state = %(state)s, status = %(status)s, answer = %(answer)s, seconds = %(seconds)s,
    next_try_at = %(next_try_at)s,
    ended_at = case when %(state)s = 'pending' then null else %(at)s::timestamptz end
where id = %(number)s and tries = %(tries)s;

-- name: give_up
update deliveries set state = 'failed', ended_at = %(at)s, answer = 'the webhook was disabled'
where webhook_id = %(number)s and state = 'pending';

-- name: deliveries
select d.public_id as id, d.message_id, d.event, d.payload, d.state, d.tries, d.next_try_at,
       d.status, d.answer, d.seconds, d.created_at, d.ended_at, d.id as number
from deliveries d where d.webhook_id = %(webhook_id)s and d.id < %(before)s
order by d.id desc limit %(limit)s;

-- name: delivery
select d.message_id, d.event, d.payload from deliveries d
where d.webhook_id = %(webhook_id)s and d.public_id = %(id)s;

-- name: clean
delete from deliveries where id in (
    select id from deliveries where created_at < %(before)s and state <> 'pending'
    order by created_at limit %(batch)s for update skip locked);
