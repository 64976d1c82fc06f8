-- Quality gates, and branches that hold only their difference to another one.
-- The release before this one makes long branches without a gate, as it always did.

create table gates (
    project_id bigint primary key references projects on delete cascade,
    conditions jsonb not null,
    author text not null,
    changed_at timestamptz not null default now()
);

alter table projects add column public_badge boolean not null default false;

-- A long branch holds its full state. A short one, and a pull request (`pr`, its number; its
-- name is `pull/NUMBER`, `head` the branch it comes from), hold what they have and their base
-- had not. `base` is the branch that they are compared with.
alter table branches
    add column kind text not null default 'long' check (kind in ('long', 'short', 'pr')),
    add column base text,
    add column pr integer,
    add column head text not null default '',
    add column lines integer,
    add column closed_at timestamptz;
create unique index branches_pr on branches (project_id, pr) where pr is not null;

alter table analyses
    add column base_analysis_id bigint references analyses on delete set null,
    add column base_commit text not null default '',
    add column lines integer,
    add column gate jsonb;
create index analyses_base on analyses (base_analysis_id) where base_analysis_id is not null;
create index analyses_commit on analyses (branch_id, commit, id);

-- What the base of a short branch has, and the branch has no longer.
create table branch_fixed (
    branch_id bigint not null references branches on delete cascade,
    issue_id bigint not null references issues on delete cascade,
    primary key (branch_id, issue_id)
);
create index branch_fixed_issue on branch_fixed (issue_id);
