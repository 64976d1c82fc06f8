-- Code that the server analyses itself: an archive that was uploaded, or a repository to fetch.
create table sources (
    id bigint generated always as identity primary key,
    public_id uuid not null unique default public_id(),
    project_id bigint not null references projects on delete cascade,
    kind text not null check (kind in ('archive', 'clone')),
    url text not null default '',
    ref text not null default '',
    strip boolean not null default false,
    branch text,
    commit text not null default '',
    base text,
    base_commit text not null default '',
    pr integer,
    author text not null,
    size_bytes bigint not null default 0,
    state text not null default 'queued'
        check (state in ('queued', 'running', 'done', 'failed', 'cancelled')),
    steps jsonb not null default '[]',
    detail text not null default '',
    tries integer not null default 0,
    job_id bigint,
    analysis_id bigint references analyses on delete set null,
    created_at timestamptz not null default now(),
    started_at timestamptz,
    ended_at timestamptz
);
create index sources_project on sources (project_id, id);
create index sources_alive on sources (id) where state in ('queued', 'running');
create index sources_ended on sources (ended_at) where ended_at is not null;
create index sources_analysis on sources (analysis_id) where analysis_id is not null;

-- An archive, until its analysis has ended: workers on other machines find it here.
create table source_parts (
    source_id bigint not null references sources on delete cascade,
    number integer not null,
    data bytea not null,
    primary key (source_id, number)
);
alter table source_parts alter column data set storage external; -- it is compressed already
