-- Who did what that matters for security. Names are kept as text: the log outlives people,
-- tokens and projects.
create table audit_log (
    id bigint generated always as identity primary key,
    at timestamptz not null default now(),
    actor text not null,
    via text not null,
    address text not null default '',
    event text not null,
    project text,
    target text not null default '',
    detail text not null default ''
);
create index audit_log_at on audit_log (at);
create index audit_log_event on audit_log (event, id);
create index audit_log_project on audit_log (project, id) where project is not null;
