-- Accounts, projects, analyses and issues. Ids are internal; what leaves the server is a UUIDv7
-- (`public_id`), so that an id says nothing about how many there are.

-- A UUID of version 7 (RFC 9562, 5.7): 48 bits of milliseconds, then random bits. PostgreSQL
-- has its own only from version 18 on, and we also run on older ones.
create function public_id() returns uuid language sql volatile parallel safe as $$
    select encode(
        set_bit(set_bit(
            overlay(
                uuid_send(gen_random_uuid())
                placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3)
                from 1 for 6
            ), 52, 1), 53, 1), 'hex')::uuid
$$;

create table users (
    id bigint generated always as identity primary key,
    public_id uuid not null unique default public_id(),
    email text not null,
    name text not null,
    password_hash text not null,
    is_admin boolean not null default false,
    created_at timestamptz not null default now(),
    disabled_at timestamptz
);
create unique index users_email on users (lower(email));

-- Browser sessions (7 days) and access tokens of the API (15 minutes, one per refresh).
-- A token is 256 random bits; the table keeps only its SHA-256.
create table sessions (
    hash bytea primary key,
    user_id bigint not null references users on delete cascade,
    family uuid,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    user_agent text not null default ''
);
create index sessions_user on sessions (user_id);
create index sessions_expires on sessions (expires_at);
create index sessions_family on sessions (family) where family is not null;

-- Every refresh replaces the token within its family. A token that comes back after it was
-- used ends the whole family (RFC 9700, 4.14.2).
create table refresh_tokens (
    hash bytea primary key,
    family uuid not null,
    user_id bigint not null references users on delete cascade,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    used_at timestamptz
);
create index refresh_tokens_family on refresh_tokens (family);
create index refresh_tokens_user on refresh_tokens (user_id);
create index refresh_tokens_expires on refresh_tokens (expires_at);

create table projects (
    id bigint generated always as identity primary key,
    public_id uuid not null unique default public_id(),
    slug text not null unique,
    name text not null,
    default_branch text not null default 'main',
    hash_key bytea not null,
    created_at timestamptz not null default now()
);

create table members (
    project_id bigint not null references projects on delete cascade,
    user_id bigint not null references users on delete cascade,
    role text not null check (role in ('viewer', 'triager', 'maintainer')),
    created_at timestamptz not null default now(),
    primary key (project_id, user_id)
);
create index members_user on members (user_id);

-- `user_id` is null for a token that an operator made on the server itself.
create table api_tokens (
    id bigint generated always as identity primary key,
    public_id uuid not null unique default public_id(),
    hash bytea not null unique,
    prefix text not null,
    name text not null,
    scopes text[] not null,
    user_id bigint references users on delete cascade,
    project_id bigint references projects on delete cascade,
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz
);
create index api_tokens_user on api_tokens (user_id);
create index api_tokens_project on api_tokens (project_id);

-- Links that work once: the first administrator's, and one for somebody who lost a password.
create table links (
    hash bytea primary key,
    purpose text not null check (purpose in ('first-admin', 'password')),
    user_id bigint references users on delete cascade,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null
);
create index links_user on links (user_id);
create index links_expires on links (expires_at);

create table branches (
    id bigint generated always as identity primary key,
    project_id bigint not null references projects on delete cascade,
    name text not null,
    unique (project_id, name)
);

-- One upload. `complete` is false when a tool failed: such an analysis is never green.
create table analyses (
    id bigint generated always as identity primary key,
    public_id uuid not null unique default public_id(),
    branch_id bigint not null references branches on delete cascade,
    commit text not null,
    category text not null,
    body_hash bytea not null,
    complete boolean not null,
    new integer not null,
    fixed integer not null,
    reopened integer not null,
    unchanged integer not null,
    open integer not null,
    suppressed integer not null,
    warnings jsonb not null default '[]',
    warnings_total integer not null default 0,
    seconds double precision not null,
    uploader text not null,
    created_at timestamptz not null default now()
);
create index analyses_branch on analyses (branch_id, id);

create table runs (
    id bigint generated always as identity primary key,
    analysis_id bigint not null references analyses on delete cascade,
    tool text not null,
    version text not null,
    category text not null,
    state text not null check (state in ('ok', 'skipped', 'failed', 'timed_out')),
    detail text not null,
    results integer not null,
    seconds double precision not null
);
create index runs_analysis on runs (analysis_id);

create table rules (
    id bigint generated always as identity primary key,
    project_id bigint not null references projects on delete cascade,
    tool text not null,
    code text not null,
    name text not null,
    summary text not null,
    help text not null,
    help_uri text not null,
    unique (project_id, tool, code)
);

create table paths (
    id bigint generated always as identity primary key,
    project_id bigint not null references projects on delete cascade,
    path text not null,
    unique (project_id, path)
);

-- What is wrong, on one branch. The four keys are 64 bits of BLAKE2b keyed by the project, so
-- that a leaked table does not reveal short lines. `severity` is 1 (info) to 5 (critical): the
-- list is read backwards over (severity, id), one direction for both columns.
create table issues (
    id bigint generated always as identity primary key,
    public_id uuid not null unique default public_id(),
    branch_id bigint not null references branches on delete cascade,
    rule_id bigint not null references rules,
    path_id bigint references paths,
    line integer,
    end_line integer,
    col integer,
    end_col integer,
    severity smallint not null check (severity between 1 and 5),
    category text not null,
    run_category text not null,
    state text not null check (state in ('open', 'fixed')),
    suppressed boolean not null default false,
    tool_key bigint,
    context_key bigint,
    line_key bigint,
    message_key bigint not null,
    message text not null,
    details jsonb,
    first_analysis_id bigint not null references analyses,
    fixed_analysis_id bigint references analyses,
    created_at timestamptz not null default now()
);
create index issues_open on issues (branch_id, severity, id) where state = 'open';
create index issues_open_rule on issues (branch_id, rule_id) include (path_id, severity) where state = 'open';
create index issues_open_path on issues (branch_id, path_id) where state = 'open';
create index issues_fixed_context on issues (branch_id, context_key) where state = 'fixed';
create index issues_fixed_message on issues (branch_id, message_key) where state = 'fixed';
create index issues_rule on issues (rule_id);
create index issues_path on issues (path_id);
create index issues_first_analysis on issues (first_analysis_id);
create index issues_fixed_analysis on issues (fixed_analysis_id);

create table issue_events (
    id bigint generated always as identity primary key,
    issue_id bigint not null references issues on delete cascade,
    analysis_id bigint references analyses on delete cascade,
    event text not null check (event in ('new', 'fixed', 'reopened')),
    created_at timestamptz not null default now()
);
create index issue_events_issue on issue_events (issue_id, id);
create index issue_events_analysis on issue_events (analysis_id);

-- Kept up to date by the upload's own transaction: every number on a page comes from here.
create table branch_stats (
    branch_id bigint not null references branches on delete cascade,
    severity smallint not null,
    category text not null,
    open integer not null,
    primary key (branch_id, severity, category)
);

create table daily_stats (
    branch_id bigint not null references branches on delete cascade,
    day date not null,
    severity smallint not null,
    open integer not null,
    new integer not null,
    fixed integer not null,
    primary key (branch_id, day, severity)
);
