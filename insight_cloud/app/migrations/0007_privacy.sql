-- What a project accepts about its code, and branches that are known by their counts only. The
-- release before this one neither asks nor counts: it takes what it always took.

alter table projects add column privacy text not null default 'source'
    check (privacy in ('counts', 'metadata', 'findings', 'snippets', 'source'));

-- A branch whose numbers came as numbers: it has no issues.
alter table branches add column counted boolean not null default false;

-- By how much the counts of a counted branch changed: [severity, category, change] each.
alter table analyses add column changes jsonb;
