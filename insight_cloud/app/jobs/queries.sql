-- The functions whose names end with a version are the interface that the queue's library
-- keeps stable; beside them only its table of jobs and that of workers are read.

-- name: defer
select unnest(procrastinate_defer_jobs_v1(array[
    row('insight', %(task)s, 0, null, null, %(arguments)s::jsonb, %(at)s)
]::procrastinate_job_to_defer_v1[]));

-- name: cancel
select procrastinate_cancel_job_v1(%(number)s, true, false);

-- name: finish
-- The attempt grows whenever a job is given to somebody else: who has an old one is too late.
with ours as (
    select id from procrastinate_jobs
    where id = %(number)s and status = 'doing' and attempts = %(attempt)s and not abort_requested
    for update
)
select id, procrastinate_finish_job_v1(id, 'succeeded', false)::text from ours;

-- name: end_attempt
-- What the library does when a job ends, kept to the attempt that it was about.
with ours as (
    select id from procrastinate_jobs
    where id = %(number)s and status = 'doing' and attempts = %(attempt)s for update
)
select procrastinate_finish_job_v1(id, %(status)s::procrastinate_job_status, false) from ours;

-- name: retry_attempt
with ours as (
    select id from procrastinate_jobs
    where id = %(number)s and status = 'doing' and attempts = %(attempt)s for update
)
select procrastinate_retry_job_v2(id, %(at)s, null, null, null) from ours;

-- name: recover
-- Jobs of workers that are not heard any more. Locked rows are passed over: somebody else is
-- recovering them, or their work is being committed at this moment.
with lost as (
    select j.id, j.attempts, j.abort_requested
    from procrastinate_jobs j
    left join procrastinate_workers w on w.id = j.worker_id
    where j.status = 'doing'
      and (w.id is null or w.last_heartbeat < now() - %(stalled)s::interval)
    for update of j skip locked
), ended as (
    select id, case
        when abort_requested then
            procrastinate_finish_job_v1(id, 'aborted', false)::text || 'aborted'
        when attempts + 1 >= %(tries)s then
            procrastinate_finish_job_v1(id, 'failed', false)::text || 'failed'
        else procrastinate_retry_job_v2(id, now(), null, null, null)::text || 'retried'
    end as what
    from lost
)
select count(*) filter (where what = 'retried') as retried,
       count(*) filter (where what <> 'retried') as ended
from ended;

-- name: counts
select count(*) filter (where status = 'todo') as waiting,
       count(*) filter (where status = 'doing') as running,
       (select count(*) from procrastinate_workers
        where last_heartbeat > now() - %(stalled)s::interval) as workers
from procrastinate_jobs where status in ('todo', 'doing');

-- name: clean
-- Identifiers grow with time, so the oldest come first and the batch stays small.
delete from procrastinate_jobs where id in (
    select j.id from procrastinate_jobs j
    where j.status in ('succeeded', 'failed', 'cancelled', 'aborted')
      and not exists (
          select from procrastinate_events e
          where e.job_id = j.id and e.at >= %(before)s)
    order by j.id limit %(batch)s);

-- name: forget_workers
delete from procrastinate_workers where last_heartbeat < %(before)s;
