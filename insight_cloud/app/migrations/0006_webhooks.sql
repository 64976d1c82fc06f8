-- Webhooks, and the outbox of what they are to be told: a delivery is written in the transaction
-- of the event and sent afterwards, by whichever process claims it first.
create table webhooks (
    id bigint generated always as identity primary key,
    public_id uuid not null unique default public_id(),
    project_id bigint not null references projects on delete cascade,
    url text not null,
    secret text not null,
    events text[] not null,
    author text not null,
    created_at timestamptz not null default now(),
    disabled_at timestamptz,
    disabled_because text not null default ''
);
create index webhooks_project on webhooks (project_id);

-- `message_id` stays the same however often a message is sent, so that a receiver can tell.
create table deliveries (
    id bigint generated always as identity primary key,
    public_id uuid not null unique default public_id(),
    webhook_id bigint not null references webhooks on delete cascade,
    message_id text not null,
    event text not null,
    payload text not null,
    state text not null default 'pending' check (state in ('pending', 'delivered', 'failed')),
    tries integer not null default 0,
    next_try_at timestamptz not null,
    status integer,
    answer text not null default '',
    seconds double precision,
    created_at timestamptz not null default now(),
    ended_at timestamptz
);
create index deliveries_due on deliveries (next_try_at) where state = 'pending';
create index deliveries_webhook on deliveries (webhook_id, id);
create index deliveries_created on deliveries (created_at);
