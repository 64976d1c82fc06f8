"""The testbed: a code-review service of 460 MB without indexes, 31 queries, an expert's answer.

The data are made by the server from a fixed seed, so every run has the same rows.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EXPERT", "QUERIES", "SCHEMA", "WRITES", "Query", "fill"]

SCHEMA = """
create table users (id int primary key, email text not null, name text not null,
    country text not null, created_at timestamptz not null, seen_at timestamptz,
    deleted_at timestamptz, settings jsonb not null);
create table teams (id int primary key, name text not null, plan text not null);
create table projects (id int primary key, team_id int not null, slug text not null,
    visibility text not null, archived boolean not null, created_at timestamptz not null);
create table files (id int primary key, project_id int not null, path text not null,
    language text not null, bytes int not null, changed_at timestamptz not null);
create table runs (id int primary key, project_id int not null, user_id int not null,
    status varchar(20) not null, priority int not null, queued_at timestamptz not null,
    finished_at timestamptz, branch text not null, commit text not null, minutes int not null);
create table findings (id int primary key, run_id int not null, file_id int not null,
    rule int not null, severity text not null, state text not null, message text not null,
    assignee_id int, created_at timestamptz not null, score int not null, tags text[] not null);
create table comments (id int primary key, finding_id int not null, user_id int not null,
    body text not null, created_at timestamptz not null);
create table audit (id bigint primary key, at timestamptz not null, actor_id int not null,
    action text not null, target text not null, detail jsonb not null);
create table invoices (id int primary key, team_id int not null, issued_on date not null,
    due_on date not null, paid_at timestamptz, amount numeric(12, 2) not null,
    currency char(3) not null);
"""

_START = "timestamptz '2025-01-01'"
_ROWS = {
    "users": 150_000,
    "teams": 2_000,
    "projects": 15_000,
    "files": 350_000,
    "runs": 450_000,
    "findings": 1_400_000,
    "comments": 350_000,
    "audit": 400_000,
    "invoices": 150_000,
}


def fill(scale: float) -> list[str]:
    """The statements that make the data; 1 is 540 MB."""
    n = {name: max(50, int(rows * scale)) for name, rows in _ROWS.items()}
    r = "(hashint4(i * 31 + {salt}) & 2147483647)"

    def pick(salt: int, of: int) -> str:
        return f"1 + {r.format(salt=salt)} % {of}"

    def at(salt: int, days: int = 300) -> str:
        return f"{_START} + ({r.format(salt=salt)} % {days * 86400}) * interval '1 second'"

    one_of = "(array[{values}])[1 + (hashint4(i * 17 + {salt}) & 2147483647) % {count}]"

    def word(salt: int, *values: str) -> str:
        texts = ", ".join(f"'{value}'" for value in values)
        return one_of.format(values=texts, salt=salt, count=len(values))

    return [
        "select setseed(0.42)",
        f"""insert into users select i, 'User' || i || '@Example' || i % 500 || '.org',
            'Name ' || md5(i::text), {word(1, "DE", "FR", "US", "IN", "BR", "JP")}, {at(2)},
            case when i % 3 > 0 then {at(3)} end, case when i % 50 = 0 then {at(4)} end,
            jsonb_build_object('theme', {word(5, "dark", "light")}, 'beta', i % 400 = 0,
                'zone', 'Z' || i % 40)
            from generate_series(1, {n["users"]}) i""",
        f"""insert into teams select i, 'Team ' || i, {word(1, "free", "pro", "pro", "max")}
            from generate_series(1, {n["teams"]}) i""",
        f"""insert into projects select i, {pick(1, n["teams"])}, 'project-' || md5(i::text),
            {word(2, "private", "private", "public")}, i % 10 = 0, {at(3)}
            from generate_series(1, {n["projects"]}) i""",
        f"""insert into files select i, {pick(1, n["projects"])},
            {word(2, "src", "lib", "tests", "docs", "app")} || '/' || substr(md5((i % 900)::text),
                1, 6) || '/' || substr(md5(i::text), 1, 12) || '.py',
            {word(3, "python", "go", "rust", "sql")}, {r.format(salt=4)} % 90000, {at(5)}
            from generate_series(1, {n["files"]}) i""",
        f"""insert into runs select i, {pick(1, n["projects"])}, {pick(2, n["users"])},
            case when i % 300 = 0 then 'queued' when i % 11 = 0 then 'failed' else 'done' end,
            {r.format(salt=3)} % 10, {at(4)}, case when i % 300 > 0 then {at(5)} end,
            case when i % 4 > 0 then 'main' else 'feature-' || i % 5000 end, md5(i::text),
            {r.format(salt=6)} % 60 from generate_series(1, {n["runs"]}) i""",
        f"""insert into findings select i, {pick(1, n["runs"])}, {pick(2, n["files"])},
            {pick(3, 400)}, {word(4, "low", "low", "medium", "medium", "high", "info")},
            case when i % 40 = 0 then 'open' when i % 300 = 1 then 'triage' else 'closed' end,
            'Finding about ' || substr(md5(i::text), 1, 10) || ' in ' ||
                substr(md5((i * 7)::text), 1, 14),
            case when i % 20 = 0 then {pick(5, n["users"])} end, {at(6)},
            {r.format(salt=7)} % 1000,
            array['t' || i % 2000, {word(8, "bug", "style", "smell")}]
            from generate_series(1, {n["findings"]}) i""",
        f"""insert into comments select i, {pick(1, n["findings"])}, {pick(2, n["users"])},
            'Comment ' || repeat(md5(i::text) || ' ', 3), {at(3)}
            from generate_series(1, {n["comments"]}) i""",
        f"""insert into audit select i, {at(1)}, {pick(2, n["users"])},
            {word(3, "login", "login", "update", "delete", "invite", "export")},
            'project:' || {pick(4, n["projects"])},
            jsonb_build_object('ip', '10.0.' || i % 250 || '.' || i % 251, 'agent',
                md5((i % 90)::text), 'request', 'r' || i % 60000)
            from generate_series(1, {n["audit"]}) i""",
        f"""insert into invoices select i, {pick(1, n["teams"])},
            date '2024-01-01' + i % 700, date '2024-01-31' + i % 700,
            case when i % 60 > 0 then {at(2)} end, (i % 5000) / 10.0,
            {word(3, "EUR", "EUR", "USD", "INR")} from generate_series(1, {n["invoices"]}) i""",
        "create extension if not exists pg_trgm",
        "vacuum analyze",
    ]


@dataclass(frozen=True, slots=True)
class Query:
    """A query of the service, and how often it comes for one of the rarest."""

    name: str
    calls: int
    text: str


QUERIES = (
    Query("sign-in", 50, "select * from users where lower(email) = 'user4711@example211.org'"),
    Query("seen lately", 5, "select id, name from users where seen_at > '2025-10-25' and country"
          " = 'DE' order by seen_at desc limit 50"),
    Query("beta users", 2, "select count(*) from users where settings @> '{\"beta\": true}'"),
    Query("team's projects", 40, "select * from projects where team_id = 77 and not archived"
          " order by created_at desc"),
    Query("project by slug", 60, "select * from projects where slug ="
          " 'project-ee11cbb19052e40b07aac0ca060c23ee'"),
    Query("files of a project", 30, "select path, bytes from files where project_id = 1234"
          " order by path limit 100"),
    Query("files below a folder", 8, "select id, path from files where path like 'src/0%' "
          "and language = 'go' order by path limit 20"),
    Query("file by path", 30, "select id from files where project_id = 4321 and path ="
          " 'src/000000/aaaaaaaaaaaa.py'"),
    Query("queue", 80, "select id, project_id from runs where status = 'queued' order by priority"
          " desc, queued_at limit 10"),
    Query("latest runs", 60, "select id, status, queued_at from runs where project_id = 900 order"
          " by queued_at desc limit 20"),
    Query("latest of a branch", 30, "select * from runs where project_id = 17 and branch = 'main'"
          " order by queued_at desc limit 1"),
    Query("runs of a commit", 20, "select * from runs where commit ="
          " 'c4ca4238a0b923820dcc509a6f75849b'"),
    Query("failed lately", 5, "select project_id, count(*) from runs where status = 'failed' and"
          " queued_at >= '2025-10-20' group by project_id order by count(*) desc limit 10"),
    Query("minutes of a user", 8, "select sum(minutes) from runs where user_id = 4000 and"
          " queued_at >= '2025-06-01'"),
    Query("findings of a run", 60, "select * from findings where run_id = 31337 order by severity,"
          " id"),
    Query("open of a run", 40, "select count(*) from findings where run_id = 4242 and state ="
          " 'open'"),
    Query("findings of a file", 20, "select id, message from findings where file_id = 5150 and"
          " state = 'open'"),
    Query("my findings", 25, "select id, message, created_at from findings where assignee_id ="
          " 1200 and state = 'open' order by created_at desc limit 20"),
    Query("to be triaged", 15, "select id, message from findings where state = 'triage' order by"
          " score desc limit 25"),
    Query("worst open", 6, "select f.id, f.message, r.project_id from findings f join runs r on"
          " r.id = f.run_id where f.state = 'open' and f.severity = 'high' order by f.score desc"
          " limit 20"),
    Query("rule over time", 4, "select created_at::date, count(*) from findings where rule = 12 and"
          " created_at >= '2025-10-01' group by 1 order by 1"),
    Query("tagged", 6, "select id, message from findings where tags @> array['t77']"),
    Query("search messages", 4, "select id, message from findings where message ilike"
          " '%about 0f3a%' limit 20"),
    Query("open by project", 6, "select count(*) from findings f join runs r on r.id = f.run_id"
          " where r.project_id = 55 and f.state = 'open'"),
    Query("comments of a finding", 50, "select c.body, u.name from comments c join users u on"
          " u.id = c.user_id where c.finding_id = 90210 order by c.created_at"),
    Query("findings without comment", 3, "select f.id from findings f where f.file_id = 99 and not"
          " exists (select from comments c where c.finding_id = f.id)"),
    Query("audit of a day", 4, "select at, actor_id, action from audit where at >= '2025-05-05' and"
          " at < '2025-05-06' and action = 'delete' order by at"),
    Query("audit of an actor", 10, "select at, action, target from audit where actor_id = 777 order"
          " by at desc limit 30"),
    Query("by request id", 8, "select at, action from audit where detail ->> 'request' = 'r4711'"),
    Query("overdue", 6, "select id, team_id, amount from invoices where paid_at is null and due_on"
          " < '2024-06-01' order by due_on limit 50"),
    Query("activity of a team", 4, "select u.name, count(*) from projects p join runs r on"
          " r.project_id = p.id join users u on u.id = r.user_id where p.team_id = 600 and"
          " r.queued_at >= '2025-10-01' group by u.name order by 2 desc limit 10"),
)  # fmt: skip

EXPERT = (
    "create index on users (lower(email))",
    "create index on users (country, seen_at)",
    "create index on users using gin (settings jsonb_path_ops)",
    "create index on projects (team_id, created_at)",
    "create index on projects (slug)",
    "create index on files (project_id, path)",
    "create index on files (language, path)",
    "create index on runs (priority desc, queued_at) where status = 'queued'",
    "create index on runs (project_id, queued_at)",
    "create index on runs (commit)",
    "create index on runs (user_id, queued_at) include (minutes)",
    "create index on runs (status, queued_at) include (project_id) where status = 'failed'",
    "create index on findings (run_id, severity, id) include (state)",
    "create index on findings (file_id)",
    "create index on findings (assignee_id, created_at) where state = 'open'",
    "create index on findings (state, score)",
    "create index on findings (rule, created_at)",
    "create index on findings using gin (tags)",
    "create index on findings using gin (message gin_trgm_ops)",
    "create index on comments (finding_id, created_at)",
    "create index on audit (at)",
    "create index on audit (actor_id, at)",
    "create index on audit ((detail ->> 'request'))",
    "create index on invoices (due_on) where paid_at is null",
)

WRITES = (
    (
        "insert into findings select i, i % 1000, i % 1000, 1, 'low', 'open', 'Finding', null,"
        " now(), 1, array['t1', 'bug'] from generate_series(-3000, -1) i"
    ),
    (
        "insert into runs select i, 1, 1, 'queued', 1, now(), null, 'main', md5(i::text), 1 from"
        " generate_series(-3000, -1) i"
    ),
    "update runs set status = 'done', finished_at = now() where id < 0",
    "update findings set state = 'closed' where id < 0",
)
