-- name: record
insert into audit_log (at, actor, via, address, event, project, target, detail)
values (%(at)s, %(actor)s, %(via)s, %(address)s, %(event)s, %(project)s, %(target)s, %(detail)s);

-- name: listed
select at, actor, via, address, event, project, target, detail, id as number from audit_log
where id < %(before)s
  and (%(event)s::text is null or event = %(event)s)
  and (%(project)s::text is null or project = %(project)s)
  and (%(actor)s::text is null or lower(actor) = lower(%(actor)s))
order by id desc limit %(limit)s;

-- name: clean
delete from audit_log where id in (
    select id from audit_log where at < %(before)s order by at limit %(batch)s
    for update skip locked);
