"""A database with faults that must be found and decoys that must not."""

from __future__ import annotations

from insight_cloud.tuning import Thresholds

THRESHOLDS = Thresholds(
    unused_days=0,
    index_bytes=64 * 1024,
    foreign_key_rows=5_000,
    bloat_bytes=1024 * 1024,
    dead_rows=2_000,
    query_mean_ms=20,
    query_calls=2,
    slot_bytes=1,
    idle_transaction_seconds=0.2,
)

ROWS = 20_000

FAULTS = {
    ("foreign_key.unindexed", "public.orders.orders_customer_fkey"),
    ("index.duplicate", "public.orders_placed"),
    ("index.unused", "public.orders_note"),
    ("index.invalid", "public.orders_broken"),
    ("index.bloated", "public.shrunk_code"),
    ("table.bloated", "public.shrunk"),
    ("table.dead_rows", "public.churned"),
    ("table.never_analyzed", "public.fresh"),
    ("constraint.unvalidated", "public.orders.orders_amount_check"),
    ("sequence.exhausted", "public.tickets_id_seq"),
}

SCHEMA = f"""
create table customers (id int primary key, name text not null, email text not null);
create table small (id int primary key, name text not null);
insert into customers select n, 'customer ' || n, n || '@example.org'
    from generate_series(1, {ROWS}) n;
insert into small select n, 'small ' || n from generate_series(1, 500) n;

create table orders (
    id int primary key,
    customer int not null references customers,
    seller int references customers,
    -- a decoy: a small table's reference is not worth an index
    placed timestamptz not null,
    amount numeric not null,
    note text not null,
    code text not null
) with (autovacuum_enabled = off);
insert into orders select n, 1 + n % {ROWS}, nullif(1 + n % 97, 1), now() - n * interval '1 minute',
    n, md5(n::text), md5((n * 7)::text) from generate_series(1, {ROWS}) n;
alter table orders add constraint orders_amount_check check (amount > 0) not valid;
-- a fault: the beginning of the next one
create index orders_placed on orders (placed);
create index orders_placed_amount on orders (placed, amount);
-- a fault: nobody reads it
create index orders_note on orders (note);
-- decoys: the same column in another order, for another operator class, for other rows
create index orders_placed_down on orders (placed desc nulls last, id);
create index orders_code on orders (code);
create index orders_code_pattern on orders (code text_pattern_ops);
create index orders_code_early on orders (code) where id < 15000;
-- a decoy: the primary key is the beginning of this one, and stays
create unique index orders_code_unique on orders (id, code);
-- a decoy: it supports a foreign key, without the nulls
create index orders_seller on orders (seller) where seller is not null;

create table lines (id int, customer int references customers, small int references small);
insert into lines select n, n, n from generate_series(1, 400) n;

-- a decoy: the key's columns stand first, in another order
create table pairs (a int, b int, primary key (a, b));
insert into pairs select n, n from generate_series(1, {ROWS}) n;
create table paired (id int, a int, b int, foreign key (a, b) references pairs)
    with (autovacuum_enabled = off);
insert into paired select n, n, n from generate_series(1, {ROWS}) n;
create index paired_pair on paired (b, a, id);

create table churned (id int primary key, n int) with (autovacuum_enabled = off);
insert into churned select n, 0 from generate_series(1, {ROWS}) n;

create table fresh (id int, t text) with (autovacuum_enabled = off);

-- decoys: it is roomy on purpose; and its sequence may begin anew
create table roomy (id int, t text) with (fillfactor = 50, autovacuum_enabled = off);
insert into roomy select n, repeat('x', 100) from generate_series(1, {ROWS}) n;
create sequence rounds as smallint maxvalue 100 cycle;
create sequence far as bigint;
select setval('rounds', 95), setval('far', 3000000000);

create table tickets (id serial primary key, n int);
alter sequence tickets_id_seq as bigint;
select setval('tickets_id_seq', 2000000000);

create table shrunk (id int, code text) with (autovacuum_enabled = off);
insert into shrunk select n, md5(n::text) from generate_series(1, 3 * {ROWS}) n;
create index shrunk_code on shrunk (code);
delete from shrunk where id % 10 <> 0;
"""

AFTER = (
    "vacuum analyze customers",
    "vacuum analyze orders",
    "vacuum analyze lines",
    "vacuum analyze pairs",
    "vacuum analyze paired",
    "vacuum analyze churned",
    "vacuum analyze roomy",
    "vacuum analyze shrunk",
    "vacuum analyze small",
    "vacuum analyze tickets",
    f"update churned set n = 1 where id <= {ROWS // 2}",
    f"insert into fresh select n, md5(n::text) from generate_series(1, {ROWS}) n",
    # Each index but the planted one is used once, so that only that one is unused.
    "set enable_seqscan = off",
    "select count(*) from orders where placed = now()",
    "select placed, amount from orders order by placed, amount limit 1",
    "select id from orders order by placed desc nulls last, id limit 1",
    "select code from orders order by code limit 1",
    "select count(*) from orders where code ~>=~ 'a' and code ~<~ 'b'",
    "select count(*) from orders where code = 'b' and id < 15000",
    "select count(*) from orders where seller = 3",
    "select count(*) from paired where b = 3",
    "select count(*) from shrunk where code = 'a'",
    "select count(code) from orders where id = 3 and code = 'b'",
    "set enable_seqscan = on",
)
