-- Some of everything that a database can hold.
create schema "Odd ""Schema"".x";
create type mood as enum ('sad', 'ok', 'happy');
create type point3 as (x float8, y float8, z float8);
create domain positive as int check (value > 0);
create sequence lonely start 17 increment 5;
select nextval('lonely'), nextval('lonely');
create table customers (
    id int generated always as identity primary key,
    name text not null unique, mood mood default 'ok', place point3, credit positive,
    tags text[], extra jsonb, doubled int generated always as (credit * 2) stored
);
comment on table customers is 'who buys; "quoted" and ''quoted''';
create table orders (
    id bigserial primary key, customer int not null references customers (id),
    at timestamptz not null, total numeric(12, 2), note text
);
create index orders_by_day on orders (at) where total > 10;
create index orders_note on orders (lower(note));
create table "Odd ""Schema"".x"."Table.with, ""odd"" name" ("Column ""one""" text, "select" int);
create table measurements (at date not null, value float8) partition by range (at);
create table measurements_2025 partition of measurements
    for values from ('2025-01-01') to ('2026-01-01');
create table measurements_2026 partition of measurements
    for values from ('2026-01-01') to ('2027-01-01');
create table parents (id int, what text);
create table children (more text) inherits (parents);
create table nothing ();
create table empty (id int primary key);
create unlogged table scratch (id int);
create table blobs (id int primary key, data bytea, floats float8[], whole numeric);
create view happy as select id, name from customers where mood = 'happy';
create materialized view totals as
    select customer, sum(total) as total from orders group by customer;
create unique index on totals (customer);
create function touch() returns trigger language plpgsql as $$
begin new.note := coalesce(new.note, '') || '!'; return new; end $$;
create table audited (id int primary key, note text);
alter table audited enable row level security;
create policy mine on audited using (note <> 'secret');

insert into customers (name, mood, place, credit, tags, extra)
select 'Customer ' || i || E' \t\n\\ é 日本', (array['sad', 'ok', 'happy'])[1 + i % 3]::mood,
       row(i, i / 3.0, 1e300)::point3, 1 + i, array['a', null, 'c"d,e'], jsonb_build_object('n', i)
  from generate_series(1, 400) i;
insert into orders (customer, at, total, note)
select 1 + i % 400, timestamptz '2025-06-01 12:00:00.123456+02' + i * interval '1 hour',
       (i % 977) / 7.0, repeat(md5(i::text), 3) from generate_series(1, 2500) i;
insert into "Odd ""Schema"".x"."Table.with, ""odd"" name"
select 'line' || E'\n' || i, i from generate_series(1, 300) i;
insert into measurements select date '2025-06-01' + i, sin(i) from generate_series(1, 500) i;
insert into parents values (1, 'only the parent');
insert into children values (2, 'the child', 'more'), (3, 'another', null);
insert into nothing default values;
insert into nothing default values;
insert into scratch select generate_series(1, 50);
insert into blobs select i, decode(repeat(md5(i::text), 20), 'hex'),
       array['nan', 'infinity', '-0', 1e-300, 0.1]::float8[], 10::numeric ^ (i % 40)
  from generate_series(1, 200) i;
insert into audited values (1, 'open'), (2, 'secret');
create trigger audited_touch before insert on audited for each row execute function touch();
refresh materialized view totals;
select lo_from_bytea(0, decode(repeat('00ff', 5000), 'hex')), lo_from_bytea(0, 'small');
