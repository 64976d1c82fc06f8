-- A number that grows whenever anything changes that a project's pages count or list. What was
-- read for one version is true for as long as that is the version: pages are cached under it,
-- and no cache has to be told of a change.
--
-- By triggers, so that no writer can forget it, a process of the previous release included.
-- They fire at the end of an upload: the project's row is locked only until its commit.
alter table projects add column version bigint not null default 0;

create function project_changed() returns trigger language plpgsql as $$
begin
    update projects set version = version + 1
    where id in (select b.project_id from changed c join branches b on b.id = c.branch_id);
    return null;
end
$$;

create trigger analyses_changed after update on analyses
    referencing new table as changed for each statement execute function project_changed();
create trigger branch_stats_added after insert on branch_stats
    referencing new table as changed for each statement execute function project_changed();
create trigger branch_stats_changed after update on branch_stats
    referencing new table as changed for each statement execute function project_changed();
