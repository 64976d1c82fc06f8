-- Judgements: what people say about single issues (triage), and about all issues of a rule or
-- below a path (suppressions). The release before this one neither reads nor writes any of it;
-- what it writes to `issues.suppressed` is put right by the branch's next upload.

-- A judgement belongs to the project, not to a branch: it is recognised on each of them by the
-- same keys as an issue, and follows the issue as the default branch moves it.
create table triage (
    id bigint generated always as identity primary key,
    project_id bigint not null references projects on delete cascade,
    rule_id bigint not null references rules on delete cascade,
    run_category text not null,
    path_id bigint references paths,
    line integer,
    tool_key bigint,
    context_key bigint,
    line_key bigint,
    message_key bigint not null,
    state text not null check (state in ('false_positive', 'wont_fix', 'accepted')),
    reason text not null,
    until date,
    author text not null,
    created_at timestamptz not null default now()
);
create index triage_project on triage (project_id);
create index triage_rule on triage (rule_id);
create index triage_path on triage (path_id);
create index triage_until on triage (until) where until is not null;

create table suppressions (
    id bigint generated always as identity primary key,
    public_id uuid not null unique default public_id(),
    project_id bigint not null references projects on delete cascade,
    tool text,
    rule text,
    path text,
    reason text not null,
    until date,
    author text not null,
    created_at timestamptz not null default now(),
    check (rule is not null or path is not null)
);
create index suppressions_project on suppressions (project_id);
create index suppressions_until on suppressions (until) where until is not null;

-- `suppressed` stays the one word of every count and list: it is true when the log itself, a
-- judgement or a suppression says so.
alter table issues
    add column in_source boolean not null default false,
    add column triage_id bigint references triage on delete set null,
    add column suppression_id bigint references suppressions on delete set null;
update issues set in_source = true where suppressed;
create index issues_triage on issues (triage_id) where triage_id is not null;
create index issues_suppression on issues (suppression_id) where suppression_id is not null;

-- What people did stands in the same history as what analyses saw.
alter table issue_events
    drop constraint issue_events_event_check,
    add column actor text not null default '',
    add column triage text,
    add column reason text not null default '',
    add column until date,
    add constraint issue_events_event_check check (event in
        ('new', 'fixed', 'reopened', 'triaged', 'reset', 'expired', 'suppressed', 'unsuppressed'));
