"""For each item of the checklist a world in which it passes, and one in which it fails."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import SecretStr

from insight_cloud import wiring
from insight_cloud.core.asgi import Scope, header
from insight_cloud.edge import Cloudflare as Api
from insight_cloud.edge import EdgeSettings, Fake, Zone, compile_file, default, load_file
from insight_cloud.edge import fake as stand_in
from insight_cloud.edge import plan as edge_plan
from insight_cloud.launch import checklist, ours
from insight_cloud.launch.file import About, Contact, LaunchFile, Rollback, Step, Trigger
from insight_cloud.launch.target import Cloudflare
from insight_cloud.settings import Settings
from tests.launch.backups import holding
from tests.launch.world import NOW, Reply, Setup, World
from tests.redis import redis_server
from tests.tls.authority import leaf, root
from tests.tls.servers import openssl

__all__ = ["CASES", "Case"]


@dataclass(frozen=True)
class Case:
    """Two worlds that differ in what the item is about. `outcome` is that of the broken one."""

    good: tuple[Setup, ...]
    bad: tuple[Setup, ...]


CASES: dict[str, Case] = {}


def case(name: str, common: list[Setup], good: list[Setup], bad: list[Setup]) -> None:
    assert name not in CASES
    CASES[name] = Case((*common, *good), (*common, *bad))


# -- small words -----------------------------------------------------------------------------


def put(name: str, data: Any, mode: int = 0o644) -> Setup:
    return lambda w: _nothing(w.put(name, data(w) if callable(data) else data, mode=mode))


def _nothing(_: Any) -> None:
    return None


def values(**given: Any) -> Setup:
    return lambda w: w.values.update({n: v(w) if callable(v) else v for n, v in given.items()})


def computed(**given: Any) -> Setup:
    return lambda w: w.target.setdefault("computed", {}).update(given)


def page(path: str, reply: Any) -> Setup:
    return lambda w: w.site.pages.update({path: reply})


async def serve(w: World) -> None:
    await w.serve()


def program(name: str, script: str) -> Setup:
    return lambda w: w.program(name, script)


def committed(tag: str | None = None) -> Setup:
    return lambda w: _nothing(w.commit(tag))


def database(*statements: str, server: str = "embedded") -> Setup:
    async def make(w: World) -> None:
        await w.database(server, *statements)

    return make


def site(
    name: str, requests_value: dict[str, Any], good: Mapping[str, Any], bad: Mapping[str, Any]
) -> None:
    """A case about answers: the pages of the good site, and what is otherwise in the bad one."""
    common: list[Setup] = [serve, values(**requests_value)]
    case(
        name,
        common,
        [page(path, reply) for path, reply in good.items()],
        [page(path, reply) for path, reply in {**good, **bad}.items()],
    )


def document(
    name: str,
    file: str,
    good: Mapping[str, Any] | list[Any],
    bad: Mapping[str, Any] | list[Any],
    *more: Setup,
) -> None:
    """A case about a file: its good content, and what is otherwise in the bad one.

    A value that is callable is asked with the world; a deep change replaces a whole key.
    """
    both = {**good, **bad} if isinstance(good, Mapping) and isinstance(bad, Mapping) else bad
    case(name, list(more), [put(file, _asked(good))], [put(file, _asked(both))])


def _asked(data: Any) -> Callable[[World], Any]:
    def make(w: World) -> Any:
        def walk(one: Any) -> Any:
            if callable(one):
                return one(w)
            if isinstance(one, Mapping):
                return {key: walk(value) for key, value in one.items()}
            return [walk(value) for value in one] if isinstance(one, list) else one

        return walk(data)

    return make


def ago(**span: float) -> Callable[[World], str]:
    return lambda w: w.ago(**span)


def drill(
    name: str, file: str, good: Mapping[str, Any], bad: Mapping[str, Any], *more: Setup
) -> None:
    document(name, f"drills/{file}.json", {"at": ago(hours=3), **good}, bad, *more)


# -- build and release -----------------------------------------------------------------------

_COMMIT = "0123456789abcdef0123456789abcdef01234567"
_RELEASED: list[Setup] = [computed(release="v2.0.0", version="2.0.0", commit=_COMMIT)]
_VERSION = values(version_path="/version", version_text="2.0.0")

case(
    "P001",
    [serve, put("a.txt", "a"), committed("v2.0.0"), *_RELEASED, _VERSION],
    [page("/version", Reply('{"release": "2.0.0"}'))],
    [page("/version", Reply('{"release": "1.9.9"}'))],
)
_LOCK = (
    '[[package]]\nname = "a"\nversion = "1"\nsource = {{registry = "r"}}\n'
    'wheels = [{{url = "u"{0}}}]\n'
)
case(
    "P002",
    [],
    [put("uv.lock", _LOCK.format(', hash = "sha256:00"')), committed()],
    [put("uv.lock", _LOCK.format("")), committed()],
)
_VERIFIED = {
    "commit": _COMMIT,
    "finished": ago(hours=1),
    "success_rate": 1.0,
    "suites": [{"name": "api", "status": "pass"}, {"name": "e2e", "status": "pass"}],
}
document("P003", "reports/verify.json", _VERIFIED, {"success_rate": 0.985}, *_RELEASED)
_PYPROJECT = '[tool.ruff]\nline-length = 100\n[tool.mypy]\nfiles = ["a.py"]\n'
case(
    "P004",
    [put("pyproject.toml", _PYPROJECT)],
    [put("a.py", "A: int = 1\n")],
    [put("a.py", 'import os\nA: int = "one"\n')],
)
_DIGEST = "sha256:" + "a" * 64
document(
    "P005",
    "reports/build.json",
    {"commit": _COMMIT, "digests": [_DIGEST, _DIGEST]},
    {"digests": [_DIGEST, "sha256:" + "b" * 64]},
    *_RELEASED,
)
case(
    "P006",
    [put("deploy/a.service", "[Service]\nUser=shop\n")],
    [put("Containerfile", "FROM x\nUSER root\nRUN y\nUSER 1000\n")],
    [put("Containerfile", "FROM x\nUSER 1000\nUSER root\n")],
)
case(
    "P007",
    [],
    [
        put(
            "compose.yaml",
            "services:\n  a:\n    image: shop:2.0.1\n  b:\n    image: db@sha256:" + "a" * 64,
        )
    ],
    [put("compose.yaml", "services:\n  a:\n    image: shop:2.0.1\n  b:\n    image: db:latest\n")],
)
_FLOW = (
    "permissions:\n  contents: read\njobs:\n  a:\n    steps:\n"
    "      - uses: x/y@{}\n      - uses: ./z\n"
)
case(
    "P008",
    [],
    [put(".github/workflows/ci.yml", _FLOW.format("a" * 40))],
    [put(".github/workflows/ci.yml", _FLOW.format("v4"))],
)
case(
    "P009",
    _RELEASED,
    [put("CHANGELOG.md", "# Changes\n\n## 2.0.0\n\n- Orders can be cancelled.\n\n## 1.9\n")],
    [put("CHANGELOG.md", "# Changes\n\n## 2.0.0\n\n## 1.9\n\n- Old.\n")],
)
# -- configuration and secrets ---------------------------------------------------------------
_ENV = values(
    environment_file=".env", required_environment=["DATABASE_URL", "KEY"], secret_names=["KEY"]
)
_KEY = "k3Jx9vQ2pLw8Zr5TnY7mBc4Hd6Gf1Sa0uEiOqWx"
case(
    "P011",
    [_ENV],
    [put(".env", f"DATABASE_URL=postgresql://db/shop\nKEY={_KEY}\n", 0o600)],
    [put(".env", "DATABASE_URL=changeme\n", 0o600)],
)
site(
    "P012",
    {},
    {"/": Reply("home"), "POST /": Reply("bad request", 400)},
    {"POST /": Reply('Traceback (most recent call last):\n File "/srv/app.py"', 500)},
)
case("P013", [_ENV], [put(".env", f"KEY={_KEY}")], [put(".env", "KEY=" + "ab" * 16)])
case(
    "P014",
    [put("a.py", "print(1)\n")],
    [committed()],
    [
        put("b.py", 'KEY = "AKIA' + "ABCDEFGHIJKLMNOP" + '"\n'),
        committed(),
        put("b.py", ""),
        committed(),
    ],
)
case("P015", [values(secret_files=["s/*"])], [put("s/a", "x", 0o600)], [put("s/a", "x", 0o640)])


def _hosts(scope: Scope, _: bytes) -> Reply:
    known = (header(scope, b"host") or "").startswith("127.0.0.1")
    return Reply("home") if known else Reply("no such host", 421)


site("P016", {}, {"/": _hosts}, {"/": Reply("home")})
site(
    "P017",
    {"address_path": "/whoami"},
    {"/whoami": Reply("127.0.0.1")},
    {"/whoami": lambda scope, _: Reply(header(scope, b"x-forwarded-for") or "")},
)
site("P018", {"docs_status": 404}, {}, {"/docs": Reply("Swagger")})
site("P019", {}, {}, {"/.env": Reply("KEY=1")})
case(
    "P020",
    [put("tests/test_a.py", 'if settings.env == "production": pass\n'), put("a.py", "A = 1\n")],
    [],
    [put("b.py", 'if settings.environment == "production":\n    pass\n')],
)
site(
    "P021",
    {"flags_path": "/flags", "flags": {"new_cart": True}},
    {"/flags": Reply('{"new_cart": true}')},
    {"/flags": Reply('{"new_cart": false}')},
)
# -- database --------------------------------------------------------------------------------
_MIGRATED = (
    "create table schema_migrations (number int primary key, name text)",
    "insert into schema_migrations values (1, 'first')",
)
case(
    "P022",
    [
        values(migrations_folder="migrations"),
        put("migrations/0001_first.sql", ""),
        database(*_MIGRATED),
    ],
    [],
    [put("migrations/0002_second.sql", "")],
)
case(
    "P023",
    [values(schema=[{"name": "public.t.a", "type": "integer"}])],
    [database("create table t (a int)")],
    [database("create table t (a int, b text)")],
)
_REHEARSED = {"errors": 0, "seconds": 40, "window_seconds": 300, "longest_lock_seconds": 0.2}
drill("P024", "migration", _REHEARSED, {"longest_lock_seconds": 12})
case("P025", [database()], [values(pool_total=20)], [values(pool_total=100000)])


def role(*, limited: bool) -> Setup:
    """Connect as a role of its own, with or without limits."""

    async def make(w: World) -> None:
        url = await w.database()
        name = f"shop_{time.time_ns()}"
        grants = [f"create role {name} login"]
        if limited:
            grants += [
                f"alter role {name} set {setting} = '5s'"
                for setting in (
                    "statement_timeout",
                    "lock_timeout",
                    "idle_in_transaction_session_timeout",
                )
            ]
        await w.execute(url, *grants)
        w.stack.push_async_callback(w.execute, w.servers.url("embedded"), f"drop role {name}")
        w.target["database_url"] = url + ("&" if "?" in url else "?") + f"user={name}"

    return make


case("P026", [], [role(limited=True)], [role(limited=False)])
case("P027", [], [role(limited=True)], [database()])
case("P028", [], [database(server="strict")], [database(server="loose")])
_STATISTICS = "create extension pg_stat_statements"
case("P029", [], [database(_STATISTICS, server="strict")], [database(server="strict")])
case("P030", [], [database(server="strict")], [database(server="loose")])
case("P031", [], [database(server="strict")], [database(server="loose")])
_ROWS = "create table t as select g as a from generate_series(1, 3000) g"
_SETTLED = "select pg_stat_force_next_flush()"
case(
    "P032",
    [],
    [database(_ROWS, "analyze t", _SETTLED)],
    [
        database(
            "create table t (a int) with (autovacuum_enabled = off)",
            "insert into t select g from generate_series(1, 3000) g",
            _SETTLED,
            "select pg_sleep(0.1)",
        )
    ],
)


def old_age(w: World) -> None:
    """Transaction ids cannot be used up in a test: the query is asked with a smaller limit."""
    w.file["probes"] = {"P033": (narrowed("P033", "500000000", "1"),)}


def narrowed(name: str, text: str, by: str) -> Any:
    """The probe of an item with `text` in its demands replaced."""
    import msgspec

    from insight_cloud.launch import checklist

    item = checklist().find(name)
    assert item is not None
    probe = item.probes[0]
    assert any(text in one for one in probe.expect)
    return msgspec.structs.replace(
        probe, expect=tuple(one.replace(text, by) for one in probe.expect)
    )


case("P033", [database()], [], [old_age])
_INDEXED = "create table t (a int primary key, b int)"
case(
    "P034",
    [],
    [database(_INDEXED, "create index one on t (b)")],
    [database(_INDEXED, "create index one on t (b)", "create index two on t (b)")],
)
_FOREIGN = (
    "create table parent (id int primary key)",
    "insert into parent values (1)",
    "create table child (parent int references parent)",
    "insert into child select 1 from generate_series(1, 11000)",
    "analyze child",
)
case("P035", [], [database(*_FOREIGN, "create index on child (parent)")], [database(*_FOREIGN)])
_SERIAL = "create table t (id serial primary key)"
case("P036", [], [database(_SERIAL)], [database(_SERIAL, "select setval('t_id_seq', 2000000000)")])
case("P037", [], [database()], [database(server="loose")])
case(
    "P038",
    [lambda w: w.target.update(url="http://127.0.0.1:1")],
    [values(growth_bytes_per_day=1)],
    [values(growth_bytes_per_day=10**15)],
)
_USERS = "create table users (email text, password_hash text)"
_ARGON = "'$argon2id$v=19$m=1,t=1,p=1$c2FsdA$aGFzaA'"
_ASKED = values(accounts_sql="select email, password_hash from users")
case(
    "P039",
    [_ASKED],
    [database(_USERS, "insert into users values ('ann@shop.de', '')")],
    [database(_USERS, "insert into users values ('ann@example.com', '')")],
)


async def _memory(w: World) -> None:
    """Say the memory that suits the settings of this very server."""
    import psycopg

    async with await psycopg.AsyncConnection.connect(w.target["database_url"]) as connection:
        row = await (
            await connection.execute(
                "select (select setting::bigint from pg_settings where name = 'shared_buffers'),"
                " (select setting::bigint from pg_settings where name = 'effective_cache_size')"
            )
        ).fetchone()
    assert row is not None
    # The cached share is what a server of 4 GiB cache and 128 MiB buffers can never meet, so
    # both are set for this database's sessions.
    w.values["database_memory_bytes"] = row[0] * 8192 * 4
    await w.execute(
        w.target["database_url"],
        f'alter database "{w.target["database_url"].rpartition("/")[2].partition("?")[0]}"'
        f" set effective_cache_size = {row[0] * 2}",
    )


case(
    "P040",
    [database()],
    [_memory],
    [values(database_memory_bytes=2**40)],
)


# -- cache and limits ------------------------------------------------------------------------


def redis(*options: str, commands: tuple[tuple[str, ...], ...] = ()) -> Setup:
    """A Redis server of the test's own."""

    def make(w: World) -> None:
        server = w.stack.enter_context(redis_server(*options))
        for words in commands:
            assert not server.command(*words).startswith("-")
        w.target["redis_url"] = server.url

    return make


def patient(name: str, text: str, by: str) -> Setup:
    """Another limit for an item that measures time: a loaded machine is not at fault."""
    return lambda w: w.file.update(probes={name: (narrowed(name, text, by),)})


case("P041", [redis()], [patient("P041", "< 5", "< 5000")], [patient("P041", "< 5", "< 0.0001")])
case(
    "P042",
    [],
    [redis("--maxmemory", "10mb", "--maxmemory-policy", "allkeys-lru")],
    [redis("--maxmemory", "10mb", "--maxmemory-policy", "noeviction")],
)
case(
    "P043",
    [],
    [redis()],
    [redis("--protected-mode", "no", commands=(("CONFIG", "SET", "bind", "* -::*"),))],
)
drill(
    "P044", "cache", {"requests": 100, "server_errors": 0, "wrong_answers": 0}, {"server_errors": 3}
)


def limited(allowed: int, *, retry: bool = True) -> Setup:
    """A path that refuses after so many requests of each process, or of each address."""

    def make(w: World) -> None:
        count = 0

        def answer(scope: Scope, _: bytes) -> Reply:
            nonlocal count
            count += 1
            if count <= allowed:
                return Reply("yes")
            return Reply("no", 429, {"retry-after": "60"} if retry else {})

        w.site.pages["/limited"] = answer

    return make


_TIER = {"name": "api", "path": "/limited", "limit": 10}
case("P045", [serve, values(limit_tiers=[_TIER])], [limited(10)], [limited(10, retry=False)])
case("P046", [serve, values(parallel_tiers=[_TIER])], [limited(10)], [limited(1000)])
drill(
    "P047",
    "limiter",
    {"policy": "closed", "observed": "closed", "alerted": True},
    {"observed": "open"},
)


def by_address(w: World) -> None:
    """A limit that each address has for itself, and the account none."""
    counts: dict[str, int] = {}

    def answer(scope: Scope, _: bytes) -> Reply:
        address = scope["client"][0]
        counts[address] = counts.get(address, 0) + 1
        return Reply("wrong", 401 if counts[address] <= 8 else 429)

    w.site.pages["/limited"] = answer


case(
    "P048",
    [serve, values(account_tiers=[_TIER], client_addresses=["127.0.0.1", "127.0.0.2"])],
    [limited(10)],
    [by_address],
)
# -- transport -------------------------------------------------------------------------------


def secure(*names: str, **more: Any) -> Setup:
    """Serve the site over TLS; the root is trusted."""

    async def make(w: World) -> None:
        await w.serve(leaf(*(names or ("localhost", "127.0.0.1")), **more), host="localhost")
        w.target["ca_file"] = w.put("tls/root.pem", root().alone.decode())

    return make


def old_protocols(w: World) -> None:
    port = w.stack.enter_context(openssl("-no_tls1_3"))
    w.target["url"] = f"https://localhost:{port}"


case("P049", [], [secure()], [secure("elsewhere.example")])
case(
    "P050",
    [],
    [secure()],
    [secure("localhost", begins=NOW - timedelta(days=80), ends=NOW + timedelta(days=3))],
)
_SYSTEMCTL = "echo ActiveState={}\necho Result=success"
case(
    "P051",
    [values(renewal_timer="renew.timer")],
    [program("systemctl", _SYSTEMCTL.format("active"))],
    [program("systemctl", _SYSTEMCTL.format("inactive"))],
)
case("P052", [], [secure()], [old_protocols])


def plainly(target: str, status: int = 308) -> Setup:
    async def make(w: World) -> None:
        w.values["plain_url"] = await w.serve()
        w.site.pages["/a-path"] = Reply("", status, {"location": target})

    return make


case(
    "P053",
    [],
    [plainly("https://shop.example/a-path?x=1")],
    [plainly("https://shop.example/a-path?x=1", 302)],
)
_HSTS = {"strict-transport-security": "max-age=63072000; includeSubDomains"}
_SHORT = {"strict-transport-security": "max-age=300"}


def missing(reply: Reply) -> Setup:
    def make(w: World) -> None:
        w.site.missing = reply

    return make


case(
    "P054",
    [serve, page("/", Reply("home", headers=_HSTS))],
    [missing(Reply("no", 404, _HSTS))],
    [missing(Reply("no", 404, _SHORT))],
)
case(
    "P055",
    [],
    [secure(), values(subdomains=["localhost"])],
    [secure("a.example"), values(subdomains=["localhost"])],
)
case(
    "P056",
    [values(key_files=["k/*.key"])],
    [put("k/a.key", "k", 0o600)],
    [put("k/a.key", "k", 0o644)],
)


def names(
    records: Mapping[tuple[str, str], tuple[int, list[str]]], *others: Any, **given: Any
) -> Setup:
    """Name servers: one with `records`, and one for each of `others`."""

    async def make(w: World) -> None:
        w.values["resolvers"] = [await w.names(one) for one in (records, *others)]
        w.values.update({"domain": "shop.example", **given})

    return make


_CAA = {("shop.example", "CAA"): (300, ['0 issue "letsencrypt.org"'])}
case(
    "P057", [], [names(_CAA, authority="letsencrypt.org")], [names({}, authority="letsencrypt.org")]
)


def edge(change: Callable[[Fake], None] = lambda _: None) -> Setup:
    """The stand-in of Cloudflare's API as `change` leaves it."""

    async def make(w: World) -> None:
        fake = Fake(name="shop.example", plan="pro")
        fake.settings["ssl"] = "strict"
        rule = {"expression": 'http.request.uri.path eq "/x"', "action": "block", "enabled": True}
        fake.add_rule("http_request_firewall_custom", {**rule, "description": "exploits"})
        change(fake)
        url = await w.stack.enter_async_context(stand_in.serve(fake))
        w.target["cloudflare"] = Cloudflare(url, stand_in.ZONE, stand_in.TOKEN)

    return make


def lax(fake: Fake) -> None:
    fake.settings["ssl"] = "flexible"


case("P058", [], [edge()], [edge(lax)])
# -- application security --------------------------------------------------------------------
_EIGHT = {
    **_HSTS,
    "content-security-policy": "default-src 'self'; script-src 'self' 'nonce-abc'",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "x-xss-protection": "0",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=()",
    "x-dns-prefetch-control": "off",
}
_SEVEN = {name: value for name, value in _EIGHT.items() if name != "permissions-policy"}
case(
    "P059",
    [serve, page("/", Reply("home", headers=_EIGHT))],
    [missing(Reply("no", 404, _EIGHT))],
    [missing(Reply("no", 404, _SEVEN))],
)
_INLINE = {"content-security-policy": "script-src 'self' 'unsafe-inline'"}
site("P060", {}, {"/": Reply("x", headers=_EIGHT)}, {"/": Reply("x", headers=_INLINE)})


def echo(scope: Scope, _: bytes) -> Reply:
    origin = header(scope, b"origin") or ""
    return Reply("", 200, {"access-control-allow-origin": origin})


site("P061", {"api_path": "/api"}, {"/api": Reply("{}")}, {"/api": echo})
_SIGN_IN = [{"method": "POST", "path": "/login", "form": {"email": "a@b.c", "password": "p"}}]
_GOOD_COOKIE = "__Host-session=abc; Path=/; Secure; HttpOnly; SameSite=Lax"
site(
    "P062",
    {"sign_in_requests": _SIGN_IN},
    {"/login": Reply("", 303, cookies=(_GOOD_COOKIE,))},
    {"/login": Reply("", 303, cookies=("session=abc; Path=/; HttpOnly",))},
)


def same_site(scope: Scope, _: bytes) -> Reply:
    return Reply("refused", 403) if header(scope, b"origin") else Reply("done")


site(
    "P063",
    {
        "cross_site_requests": [
            {"method": "POST", "path": "/x", "headers": {"origin": "https://evil.invalid"}}
        ]
    },
    {"/x": same_site},
    {"/x": Reply("done")},
)


def sessions(*, ends: bool) -> Setup:
    """A site that forgets a session when it is ended, or does not."""

    def make(w: World) -> None:
        alive = {"abc"}

        def me(scope: Scope, _: bytes) -> Reply:
            known = any(one in (header(scope, b"cookie") or "") for one in alive)
            return Reply("you") if known else Reply("who?", 401)

        def out(_: Scope, __: bytes) -> Reply:
            if ends:
                alive.clear()
            return Reply("bye", 303, cookies=("session=; Path=/; Max-Age=0",))

        w.site.pages |= {
            "/login": Reply("", 303, cookies=("session=abc; Path=/",)),
            "/me": me,
            "/logout": out,
        }

    return make


_ENDED = [
    {"method": "POST", "path": "/login"},
    "/me",
    {"method": "POST", "path": "/logout"},
    {"path": "/me", "cookies_after": 0},
]
case(
    "P064", [serve, values(session_requests=_ENDED)], [sessions(ends=True)], [sessions(ends=False)]
)
_OBJECTS = {"cross_tenant_requests": ["/items/1", "/items/2"]}
site("P065", _OBJECTS, {"/items/1": Reply("mine")}, {"/items/2": Reply("theirs")})
_ADMIN = {"admin_requests": ["/me", "/admin"]}
site("P066", _ADMIN, {"/me": Reply("you"), "/admin": Reply("no", 403)}, {"/admin": Reply("users")})
_WEAK = values(
    weak_password_requests=[
        {"method": "POST", "path": "/register", "json": {"password": "password1"}}
    ]
)
_SHA1 = "'5baa61e4c9b93f3f0682250b6cf8331b7ee68fd8'"
case(
    "P067",
    [serve, _ASKED, _WEAK, page("/register", Reply("too weak", 422))],
    [database(_USERS, f"insert into users values ('a@b.c', {_ARGON})")],
    [database(_USERS, f"insert into users values ('a@b.c', {_SHA1})")],
)
site(
    "P068",
    {
        "default_credentials_requests": [
            {"method": "POST", "path": "/login", "json": {"user": "admin"}}
        ]
    },
    {"/login": Reply("wrong", 401)},
    {"/login": Reply("welcome")},
)


def uploads(_: Scope, body: bytes) -> Reply:
    return Reply("", 413 if len(body) > 1000 else 415)


_UPLOADS = [
    {"method": "POST", "path": "/upload", "body_bytes": 5000},
    {
        "method": "POST",
        "path": "/upload",
        "headers": {"content-type": "image/png"},
        "text": "<html>",
    },
]
site("P069", {"upload_requests": _UPLOADS}, {"/upload": uploads}, {"/upload": Reply("taken")})
_AUDIT = {"dependencies": [{"name": "a", "version": "1", "vulns": []}]}
_SKIPPED = {"dependencies": [{"name": "a", "skip_reason": "not found", "vulns": []}]}
document("P070", "reports/pip-audit.json", _AUDIT, _SKIPPED)
case("P071", [], [put("a.py", "A = 1\n")], [put("a.py", "import pickle\npickle.loads(b'')\n")])
_BAD_API = {"suites": [{"name": "api", "status": "not_run"}]}
document("P072", "reports/verify.json", _VERIFIED, _BAD_API)
_LOGS = values(log_files=["logs/*.log"])
_LINE = json.dumps({"level": "info", "request_id": "abcdef12", "message": "served"})
_TOLD = json.dumps({"message": "Authorization: Bearer abcdefghijklmnopqrstuvwx"})
case("P073", [_LOGS], [put("logs/a.log", _LINE + "\n")], [put("logs/a.log", f"{_LINE}\n{_TOLD}\n")])


def contact(days: int) -> Reply:
    until = (NOW + timedelta(days=days)).isoformat()
    text = f"Contact: mailto:security@shop.example\nExpires: {until}\n"
    return Reply(text, headers={"content-type": "text/plain"})


_SECURITY = "/.well-known/security.txt"
site("P074", {}, {_SECURITY: contact(100)}, {_SECURITY: contact(-1)})
# -- edge ------------------------------------------------------------------------------------


def zone(*changed: str) -> Setup:
    """The real comparison of an edge.toml with the stand-in, applied or changed since."""

    async def make(w: World) -> None:
        fake = Fake(name="example.com", plan="pro")
        url = await w.stack.enter_async_context(stand_in.serve(fake))
        settings = Settings(
            edge=EdgeSettings(
                file=w.put("edge.toml", default("production")),
                api_url=url,
                api_token=SecretStr(stand_in.TOKEN),
                zone_id=stand_in.ZONE,
                snapshots=w.folder / "snapshots",
            )
        )
        await applied(settings)
        fake.settings.update(dict.fromkeys(changed, "off"))
        made = await ours.target(
            settings, LaunchFile(), checklist(), url=None, folder=w.folder, now=w.now
        )
        w.target["edge_plan"] = made.edge_plan

    return make


async def applied(settings: Settings) -> None:
    """Make the zone what the file says, as `insight edge apply` does."""
    edge_ = settings.edge
    assert edge_.api_token is not None
    assert edge_.zone_id is not None
    async with Api(edge_.api_token.get_secret_value(), url=edge_.api_url) as api:
        there = Zone(api, edge_.zone_id, snapshots=edge_.snapshots)
        file = load_file(edge_.file)
        state = await there.read(list(file.edge.settings))
        wanted = compile_file(
            file,
            today=NOW.date(),
            tiers=wiring.edge_tiers(settings),
            plan=state.zone.plan,
        )
        await there.apply(edge_plan(state, wanted))


case("P076", [], [zone()], [zone("always_use_https")])
_HOME = '<link rel="stylesheet" href="/static/a.1f.css"><script src="/static/a.2e.js"></script>'
_YEAR = {"cache-control": "public, max-age=31536000, immutable"}
_FILES = {
    "/static/a.1f.css": Reply("a", headers=_YEAR),
    "/static/a.2e.js": Reply("b", headers=_YEAR),
}
_FRESH = Reply("{}", headers={"cache-control": "no-store"})
site(
    "P077",
    {"api_path": "/api"},
    {"/": Reply(_HOME), "/api": _FRESH, **_FILES},
    {"/static/a.2e.js": Reply("b", headers={"cache-control": "max-age=60"})},
)
_PERSONAL = {"personal_requests": [{"method": "POST", "path": "/login"}, "/me"]}
_IN = {"/login": Reply("", 303, cookies=("session=abc; Path=/",))}
_PRIVATE = Reply("you", headers={"cache-control": "private, no-cache"})
_PUBLIC = Reply("you", headers={"cache-control": "public, max-age=60"})
site("P078", _PERSONAL, {**_IN, "/me": _PRIVATE}, {"/me": _PUBLIC})


def switched_off(fake: Fake) -> None:
    rule = {"expression": 'http.request.uri.path eq "/y"', "action": "block", "enabled": False}
    fake.add_rule("http_request_firewall_custom", {**rule, "description": "bots"})


_HEALTH = values(health_path="/livez", ready_path="/readyz")
_OPEN = [serve, _HEALTH, page("/", Reply("home")), page("/livez", Reply("ok"))]
case("P079", list(_OPEN), [edge()], [edge(switched_off)])


async def origin(w: World) -> None:
    w.values["origin_url"] = await w.serve()


case("P080", [origin], [page("/", Reply("no", 403))], [page("/", Reply("home"))])
_HERE = {("shop.example", "A"): (300, ["192.0.2.10"])}
_THERE = {("shop.example", "A"): (300, ["192.0.2.99"])}
case("P081", [], [names(_HERE, _HERE)], [names(_HERE, _THERE)])


async def registered(w: World) -> None:
    w.values["rdap_url"] = f"{await w.serve()}/rdap"


def record(days: int) -> Reply:
    until = (NOW + timedelta(days=days)).isoformat()
    events = [
        {"eventAction": "registration", "eventDate": "2020-01-01"},
        {"eventAction": "expiration", "eventDate": until},
    ]
    data = {"events": events, "status": ["client transfer prohibited"]}
    return Reply(json.dumps(data), headers={"content-type": "application/rdap+json"})


case("P082", [registered], [page("/rdap", record(200))], [page("/rdap", record(30))])
_MAIL = {
    ("shop.example", "TXT"): (300, ['"v=spf1 include:mail.example -all"']),
    ("_dmarc.shop.example", "TXT"): (300, ['"v=DMARC1; p=reject"']),
    ("s1._domainkey.shop.example", "TXT"): (300, ['"v=DKIM1; p=MIIBIjANBgkqhkiG9w0BAQEFAAOC"']),
}
_NO_DMARC = {name: one for name, one in _MAIL.items() if not name[0].startswith("_dmarc")}
case("P083", [], [names(_MAIL, dkim_selector="s1")], [names(_NO_DMARC, dkim_selector="s1")])


def compressed(scope: Scope, _: bytes) -> Reply:
    return (
        Reply("", headers={"content-encoding": "gzip"})
        if b"gzip" in dict(scope["headers"]).get(b"accept-encoding", b"")
        else Reply("x")
    )


site("P084", {}, {"/": compressed}, {"/": Reply("x" * 2000)})
site(
    "P085",
    {},
    {"/robots.txt": Reply("User-agent: *"), "/sitemap.xml": Reply("<urlset/>")},
    {"/definitely-missing": Reply("home", 200)},
)
# -- performance -----------------------------------------------------------------------------
_LOAD: dict[str, Any] = {
    "interrupted": False,
    "valid": True,
    "total": {"ms": {"p95": 800.0, "p99": 1500.0}},
    "thresholds": [{"metric": "http_req_duration", "passed": True}],
    "generator": {"cpu_percent": 40.0, "lag_p99_ms": 1.0, "dropped": 0},
}
document("P086", "reports/load/peak.json", _LOAD, {"total": {"ms": {"p95": 800.0, "p99": 9000.0}}})
_SLOW = {"generator": {"cpu_percent": 99.0, "lag_p99_ms": 80.0, "dropped": 5}}
document("P087", "reports/load/peak.json", _LOAD, _SLOW)
_CAPACITY = {"source": "last year's sale", "expected_peak_rps": 100, "measured_rps": 250}
document("P088", "launch/capacity.json", _CAPACITY, {"measured_rps": 150})
_SOAK = {
    "seconds": 3700,
    "memory_growth_share_per_hour": 0.001,
    "open_files_growth": 0,
    "connections_growth": 0,
}
document("P089", "reports/soak.json", _SOAK, {"memory_growth_share_per_hour": 0.2})


def scores(accessibility: float, scripts: int) -> dict[str, Any]:
    categories = {
        "performance": 0.9,
        "accessibility": accessibility,
        "best-practices": 0.9,
        "seo": 1,
    }
    items = [{"resourceType": "script", "transferSize": scripts}]
    return {
        "categories": {name: {"score": score} for name, score in categories.items()},
        "audits": {
            "total-byte-weight": {"numericValue": 400_000},
            "resource-summary": {"details": {"items": items}},
        },
    }


document("P090", "reports/lighthouse/home.json", scores(0.95, 1000), scores(0.6, 1000))
_VITALS = {"pages": [{"lcp_ms": 900, "inp_ms": 40, "cls": 0.01}]}
document(
    "P091", "reports/vitals.json", _VITALS, {"pages": [{"lcp_ms": 900, "inp_ms": 400, "cls": 0.01}]}
)
_AXE = {"violations": [{"id": "region", "impact": "moderate"}], "passes": [{"id": "label"}]}
document(
    "P092", "reports/axe/home.json", _AXE, {"violations": [{"id": "label", "impact": "critical"}]}
)
document("P093", "reports/lighthouse/home.json", scores(0.95, 1000), scores(0.95, 900_000))
_SLEEPS = (_STATISTICS, "select pg_stat_statements_reset()", "select 1")
case(
    "P094",
    [],
    [database(*_SLEEPS, server="strict")],
    [database(*_SLEEPS, "select pg_sleep(0.3)", server="strict")],
)


def metrics(text: Callable[[World], str] | str) -> Setup:
    async def make(w: World) -> None:
        await w.serve()
        body = text if isinstance(text, str) else text(w)
        w.site.pages["/metrics"] = Reply(body, headers={"content-type": "text/plain"})

    return make


def counted(
    *,
    failed: int = 0,
    hits: int = 90,
    misses: int = 10,
    slow: int = 0,
    refused: int = 0,
    lcp: int = 0,
    idle: int = 3,
) -> str:
    """The metrics of a service that served 1000 requests, `failed` and `slow` of them."""
    fast, name = 1000 - failed - slow, "http_request_duration_seconds"
    lines = [
        f'{name}_bucket{{route="/",status="2xx",le="0.5"}} {fast}',
        f'{name}_bucket{{route="/",status="2xx",le="10"}} {fast + slow}',
        f'{name}_bucket{{route="/",status="2xx",le="+Inf"}} {fast + slow}',
        f'{name}_count{{route="/",status="2xx"}} {fast + slow}',
        f'{name}_bucket{{route="/",status="5xx",le="0.5"}} {failed}',
        f'{name}_bucket{{route="/",status="5xx",le="+Inf"}} {failed}',
        f'{name}_count{{route="/",status="5xx"}} {failed}',
        f"cache_hits_total {hits}",
        f"cache_misses_total {misses}",
        f"ratelimit_denied_total {refused}",
        f'database_pool_connections{{state="idle"}} {idle}',
        f'web_vital_lcp_seconds_bucket{{le="2.5"}} {100 - lcp}',
        'web_vital_lcp_seconds_bucket{le="8"} 100',
        "web_vital_lcp_seconds_count 100",
        'web_vital_inp_seconds_bucket{le="0.1"} 100',
        'web_vital_cls_bucket{le="0.05"} 100',
        f"process_start_time_seconds {NOW.timestamp() - 47 * 3600}",
        "process_resident_memory_bytes 100000000",
    ]
    return "\n".join(lines) + "\n"


case("P095", [], [metrics(counted())], [metrics(counted(hits=10))])
case(
    "P096",
    [put("a.py", "import httpx\nhttpx.get('https://a.example')\n")],
    [],
    [put("b.py", "import requests\nrequests.get('https://a.example')\n")],
)
# -- backups ---------------------------------------------------------------------------------
case("P097", [], [holding("daily", "weekly", "monthly")], [holding("daily", "monthly")])
case("P098", [], [holding("daily", drill=True)], [holding("daily", drill=False)])
case("P099", [], [holding("daily", stores=2)], [holding("daily", stores=1)])
_ACCESS = {"at": ago(days=3), "stores": [{"protection": "object lock", "tried_by": "Ann"}]}
document(
    "P100",
    "launch/backup-access.json",
    _ACCESS,
    {"stores": [{"protection": "none", "tried_by": "Ann"}]},
)
case("P101", [], [holding("daily")], [holding("daily", encrypted=False)])
case(
    "P102",
    [],
    [holding("daily", drill=True)],
    [holding("daily", drill=True), values(rto_seconds=1)],
)


def parts(*kept: str) -> dict[str, Any]:
    return {"parts": [{"name": name, "at": ago(hours=2)} for name in kept]}


document(
    "P103",
    "launch/backup-parts.json",
    parts("database", "uploads", "configuration"),
    parts("database"),
)
case("P104", [], [holding("daily")], [holding("daily", hours=6)])
# -- observability ---------------------------------------------------------------------------
_READY = [*_OPEN, page("/readyz", Reply("ok"))]
_LIVE = {"at": ago(days=1), "live_status": 200, "ready_status": 503}
case(
    "P105",
    list(_READY),
    [put("drills/database.json", _asked(_LIVE))],
    [put("drills/database.json", _asked({**_LIVE, "ready_status": 200}))],
)
_NEVER = {"cache-control": "no-store"}
case(
    "P106",
    [serve, _HEALTH, patient("P106", "< 0.05", "< 5")],
    [page("/livez", Reply("ok", headers=_NEVER))],
    [page("/livez", Reply("ok"))],
)
_BARE = 'http_request_duration_seconds_count 5\nhttp_request_duration_seconds_bucket{le="+Inf"} 5\n'
case("P107", [], [metrics(counted())], [metrics(_BARE)])
case(
    "P108",
    [serve, _LOGS, page("/", Reply("home", headers={"x-request-id": "abcdef123456"}))],
    [put("logs/a.log", f"{_LINE}\n" * 3)],
    [put("logs/a.log", "INFO served /\n" * 3)],
)
_EVENT = {"event_id": "abcdef123", "release": "v2.0.0", "environment": "production"}
drill("P109", "error", _EVENT, {"release": "v1.0.0"}, *_RELEASED)


def rule(name: str, runbook: str = "https://runbooks.example/a") -> str:
    return (
        f"      - alert: {name}\n        labels:\n          owner: ann\n"
        f"        annotations:\n          runbook_url: {runbook}\n"
    )


_GROUPS = "groups:\n  - name: a\n    rules:\n"
_HEARD = {"at": ago(days=1), "delivered": True, "seconds": 20}
case(
    "P110",
    [put("drills/alert.json", _asked(_HEARD))],
    [put("deploy/alerts.yml", _GROUPS + rule("Disk"))],
    [put("deploy/alerts.yml", _GROUPS + rule("Disk") + rule("Queue", "none"))],
)
_SLO = (
    '[[objective]]\nname = "{0}"\ntarget = 0.995\nalerts = [{{window = "1h"}}, {{window = "6h"}}]\n'
)
_BOTH = _SLO.format("availability") + _SLO.format("latency")
case(
    "P111",
    [],
    [put("launch/slo.toml", _BOTH)],
    [put("launch/slo.toml", _SLO.format("availability"))],
)
_WATCH = '[[outside]]\nurl = "https://w.example"\ntells = "ann"\n'
_DEAD = '[dead_man]\nurl = "https://d.example"\ntells = "ann"\n'
case(
    "P112",
    [],
    [put("launch/monitoring.toml", _WATCH + _DEAD)],
    [put("launch/monitoring.toml", _WATCH)],
)
_TOPICS = ("CertificateExpires", "BackupOld", "DiskFull", "QueueLong", "PoolBusy")
case(
    "P113",
    [],
    [put("deploy/alerts.yml", _GROUPS + "".join(map(rule, _TOPICS)))],
    [put("deploy/alerts.yml", _GROUPS + "".join(map(rule, _TOPICS[1:])))],
)
_JSON = {"content-type": "application/json"}
_DATA = Reply('{"data": {"result": [{"value": [1, "2"]}]}}', headers=_JSON)
_NO_DATA = Reply('{"data": {"result": []}}', headers=_JSON)
site("P114", {"dashboard_requests": ["/query"]}, {"/query": _DATA}, {"/query": _NO_DATA})
case("P115", [], [program("timedatectl", "echo yes")], [program("timedatectl", "echo no")])
_VIEW = values(vitals_requests=[{"method": "POST", "path": "/vitals", "json": {"lcp": 1200}}])
case(
    "P116",
    [metrics(counted()), _VIEW],
    [page("/vitals", Reply("", 204))],
    [page("/vitals", Reply("", 404))],
)
# -- runtime ---------------------------------------------------------------------------------
_TWO = {"instances": 2, "requests": 5000, "failed_share": 0.0}
drill("P117", "instance", _TWO, {"failed_share": 0.02})
drill(
    "P118", "stop", {"requests": 500, "failed": 0, "seconds": 4, "grace_seconds": 30}, {"failed": 2}
)
_UNIT = "[Service]\nRestart={}\nMemoryMax=512M\n"
case(
    "P119",
    [],
    [put("deploy/a.service", _UNIT.format("always"))],
    [put("deploy/a.service", _UNIT.format("no"))],
)
_LOCAL = values(local=True)


def machine(kills: int) -> Setup:
    """A machine whose control group says how often memory was short."""

    def make(w: World) -> None:
        w.put("machine/sys/fs/cgroup/memory.events", f"oom 0\noom_kill {kills}\n")
        w.values["machine_root"] = str(w.folder / "machine")

    return make


case(
    "P120",
    [_LOCAL, machine(0)],
    [put("deploy/a.service", _UNIT.format("always"))],
    [put("deploy/a.service", "[Service]\nRestart=always\nMemoryMax=infinity\n")],
)
case("P121", [_LOCAL], [values(open_files=16)], [values(open_files=10**9)])
_JOB = {"same_after_two_runs": True, "retried": True, "stuck_alert": True}
drill("P122", "jobs", {"jobs": [_JOB]}, {"jobs": [{**_JOB, "retried": False}]})


def losses(*lost: str) -> dict[str, Any]:
    return {
        "dependencies": {name: {"at": ago(days=3), "behaviour": "serves stale"} for name in lost}
    }


drill(
    "P123",
    "dependencies",
    losses("database", "cache", "storage", "mail"),
    losses("database", "cache"),
)
# -- people ----------------------------------------------------------------------------------


def rota(hours: float) -> Setup:
    def make(w: World) -> None:
        w.file["about"] = About(at=w.now)
        shift = {
            "from": w.ago(hours=1),
            "to": w.ago(hours=-hours),
            "person": "ann",
            "backup": "bob",
        }
        w.put("launch/oncall.json", {"shift": [shift]})
        w.values["oncall_file"] = "launch/oncall.json"

    return make


case("P124", [], [rota(80)], [rota(40)])


def contacts(*roles: str) -> Setup:
    listed = tuple(Contact(one, "Ann", "ann@shop.example", "4711") for one in roles)
    return lambda w: w.file.update(contacts=listed)


_ROLES = ("hosting", "dns", "edge", "database", "payment")
case("P125", [], [contacts(*_ROLES)], [contacts(*_ROLES[:4])])


def runbooks(*, days: int) -> Setup:
    def make(w: World) -> None:
        for name in ("rollback", "failover", "cache", "certificate", "attack", "leak"):
            w.put(f"docs/runbooks/{name}.md", f"# {name}\nReviewed: {w.ago(days=days)[:10]}\n")

    return make


case("P126", [], [runbooks(days=10)], [runbooks(days=200)])
_LONG = Reply("We keep little. " * 50)
site("P129", {}, {"/privacy": _LONG, "/terms": _LONG}, {"/terms": Reply("soon")})
_GONE = [
    {"path": "/me/export"},
    {"method": "DELETE", "path": "/me"},
    {"method": "POST", "path": "/login"},
]
site(
    "P130",
    {"personal_data_requests": _GONE},
    {
        "/me/export": Reply('{"email": "a@b.c", "orders": []}'),
        "/me": Reply("", 204),
        "/login": Reply("who?", 401),
    },
    {"/login": Reply("welcome back")},
)
_FREE = [{"Name": "a", "License": "MIT"}, {"Name": "b", "License": "BSD"}]
document("P131", "reports/licences.json", _FREE, [*_FREE, {"Name": "c", "License": "AGPL-3.0"}])
_BUDGET = '[[budget]]\nprovider = "Host"\nlimit = {}\ntells = "ann@shop.example"\n'
case(
    "P132",
    [],
    [put("launch/budgets.toml", _BUDGET.format(500))],
    [put("launch/budgets.toml", _BUDGET.format(0))],
)
# -- rollback --------------------------------------------------------------------------------
drill(
    "P133",
    "rollback",
    {"command": "deploy v1", "result": "pass", "seconds": 200},
    {"seconds": 2000},
)
drill(
    "P134",
    "compatibility",
    {"schema": "v2.0.0", "code": "v1.9.0", "failures": 0},
    {"failures": 2},
    *_RELEASED,
)


def back(*steps: str, triggers: tuple[Trigger, ...] = ()) -> Setup:
    listed = tuple(Step(one, "do the thing") for one in steps)
    return lambda w: w.file.update(rollback=Rollback("ann", triggers, listed))


_TRIGGERS = (Trigger("error_share", above=0.05), Trigger("p99_seconds", above=10))
case("P135", [], [back(triggers=_TRIGGERS)], [back(triggers=_TRIGGERS[:1])])
_PARTS = ("application", "database", "edge", "dns", "certificate")
case("P136", [], [back(*_PARTS)], [back(*_PARTS[:4])])


def maintenance(*, enabled: bool) -> Setup:
    def change(fake: Fake) -> None:
        rule = {
            "expression": 'http.host eq "a"',
            "action": "block",
            "description": "Maintenance page",
        }
        fake.add_rule("http_request_firewall_custom", {**rule, "enabled": enabled})

    return edge(change)


_RULE = values(maintenance_rule="Maintenance page")
case("P137", [_RULE], [maintenance(enabled=False)], [maintenance(enabled=True)])
# -- launch ----------------------------------------------------------------------------------
case(
    "L001",
    [serve, _VERSION, zone()],
    [page("/version", Reply("2.0.0"))],
    [page("/version", Reply("1.9.9"))],
)
case("L002", [], [holding("daily")], [holding("daily", hours=5)])
document("L003", "reports/verify.json", _VERIFIED, {"finished": ago(hours=9)}, *_RELEASED)


def statuses(indicator: str) -> Reply:
    return Reply(json.dumps({"status": {"indicator": indicator}}), headers=_JSON)


site(
    "L004",
    {"status_pages": ["/status.json"]},
    {"/status.json": statuses("none")},
    {"/status.json": statuses("major")},
)
_APPLIED = {"at": ago(hours=1), "errors": 0, "seconds": 50, "rehearsed_seconds": 40}
document("L007", "reports/migration.json", _APPLIED, {"seconds": 90})
document(
    "L008",
    "reports/rollout.json",
    {"at": ago(hours=1), "instances": 3, "least_ready": 3},
    {"least_ready": 2},
)
_CANARY = {
    "at": ago(hours=1), "seconds": 1000,
    "error_share": 0.001, "baseline_error_share": 0.001,
    "p95_seconds": 0.4, "baseline_p95_seconds": 0.4,
}  # fmt: skip
document("L009", "reports/canary.json", _CANARY, {"p95_seconds": 0.6})
site("L010", {}, {"/": Reply(_HOME), **_FILES}, {"/static/a.2e.js": Reply("gone", 404)})
_OLD_KEYS = values(old_key_pattern="shop:v1:*")
case("L011", [_OLD_KEYS], [redis()], [redis(commands=(("SET", "shop:v1:a", "1"),))])
case(
    "L012",
    [serve, _HEALTH, page("/livez", Reply("ok"))],
    [page("/readyz", Reply("ok"))],
    [page("/readyz", Reply("no", 503))],
)
_BROKEN_JOURNEY = {"suites": [{"name": "e2e", "status": "fail"}]}
document("L013", "reports/verify.json", _VERIFIED, _BROKEN_JOURNEY)


async def redirecting(w: World) -> None:
    """A second server, as the plain one of the site."""
    other = World(w.folder, w.servers, w.stack)
    w.values["plain_url"] = await other.serve()
    other.site.pages["/"] = Reply("", 301, {"location": "https://localhost/"})


case(
    "L014",
    [redirecting, secure()],
    [page("/", Reply("home", headers=_EIGHT))],
    [page("/", Reply("home", headers={**_EIGHT, **_SHORT}))],
)
_CHANNEL = {"name": "mail", "delivered": True, "seconds": 4}
drill("L015", "notify", {"channels": [_CHANNEL]}, {"channels": [{**_CHANNEL, "delivered": False}]})
case("L016", [], [metrics(counted())], [metrics(counted(idle=0))])
_TARGET = {"dns_target": "192.0.2.10"}
case(
    "L017", [], [names(_HERE, _HERE, _HERE, **_TARGET)], [names(_THERE, _THERE, _THERE, **_TARGET)]
)
case("L018", [], [metrics(counted())], [metrics(counted(failed=1))])
case("L020", [], [metrics(counted())], [metrics(counted(failed=30))])
case("L021", [], [metrics(counted())], [metrics(counted(slow=100))])


def busy(w: World) -> None:
    w.file["probes"] = {"L022": (narrowed("L022", "used < 0.8", "used < 0"),)}


case("L022", [database()], [], [busy])
site("L023", {"tracker_requests": ["/new"]}, {"/new": Reply("[]")}, {"/new": Reply('[{"id": 1}]')})
case("L024", [], [metrics(counted())], [metrics(counted(refused=100))])
case("L025", [back(triggers=_TRIGGERS)], [metrics(counted())], [metrics(counted(failed=100))])
_GROWTH = {
    "at": ago(hours=1),
    "log_bytes_per_hour": 10, "forecast_log_bytes_per_hour": 10,
    "disk_bytes_per_hour": 10, "forecast_disk_bytes_per_hour": 10,
    "cost_per_hour": 1.0, "forecast_cost_per_hour": 1.0,
}  # fmt: skip
document("L026", "reports/growth.json", _GROWTH, {"log_bytes_per_hour": 50})
# -- after -----------------------------------------------------------------------------------


def samples(*, down: int = 0, growth: float = 0.0, restarts: int = 0) -> Setup:
    """A sample each quarter of an hour for two days."""

    def make(w: World) -> None:
        start = w.now.timestamp() - 50 * 3600
        w.target["samples"] = tuple(
            {
                "at": w.ago(minutes=15 * number),
                "up": number >= down,
                "started": start + (3600 * 40 if number < restarts else 0),
                "memory_bytes": 1e8 * (1 + growth * (192 - number) / 4),
                "values": {},
            }
            for number in range(190, -1, -1)
        )

    return make


case("A001", [metrics(counted())], [samples()], [samples(down=10)])
case("A002", [], [metrics(counted())], [metrics(counted(failed=4))])
case("A003", [metrics(counted())], [samples()], [samples(growth=0.05)])
case("A004", [metrics(counted())], [samples()], [samples(restarts=5)])
_RAN = "echo 'LastTriggerUSec=Wed 2026-11-25 03:00:00 UTC'\necho Result={}"
case(
    "A005",
    [values(renewal_timer="renew.timer")],
    [program("systemctl", _RAN.format("success"))],
    [program("systemctl", _RAN.format("exit-code"))],
)
case("A006", [], [holding("daily", stores=2)], [holding("daily", stores=2, hours=30)])
case("A007", [], [holding("daily", drill=True)], [holding("daily", drill=True, hours=60)])
_DEAD_ROWS = (
    "create table t (a int) with (autovacuum_enabled = off)",
    "insert into t select g from generate_series(1, 20000) g",
)
case(
    "A008",
    [],
    [database(*_DEAD_ROWS, _SETTLED)],
    [database(*_DEAD_ROWS, "delete from t where a > 5000", _SETTLED, "select pg_sleep(0.1)")],
)
case("A009", [], [holding("daily")], [holding("daily", "daily", policy=0)])


def aged(hours: float) -> Setup:
    def make(w: World) -> None:
        path = w.put("reports/performance/database.json", {"findings": []})
        moment = w.now.timestamp() - hours * 3600
        os.utime(path, (moment, moment))

    return make


case("A010", [], [aged(5)], [aged(90)])
case("A011", [], [metrics(counted())], [metrics(counted(hits=20, misses=30))])
case("A012", [], [metrics(counted())], [metrics(counted(lcp=60))])
document(
    "A013",
    "reports/traffic.json",
    {"at": ago(hours=5), "largest_difference_points": 4},
    {"largest_difference_points": 25},
)
_REVIEW = {"at": ago(hours=5), "by": "Ann", "events": 40, "unexplained": 0}
document("A014", "launch/audit-review.json", _REVIEW, {"unexplained": 2})


def listening(*, allowed: bool) -> Setup:
    async def make(w: World) -> None:
        url = await w.serve()
        port = int(url.rpartition(":")[2])
        w.values.update(ports=[port], allowed_ports=[port] if allowed else [443])

    return make


case("A015", [], [listening(allowed=True)], [listening(allowed=False)])
_TEMPORARY = {"at": ago(hours=2), "access": [], "switches": []}
document("A016", "launch/temporary.json", _TEMPORARY, {"access": ["ann: root on web1"]})
document(
    "A017",
    "reports/pip-audit.json",
    _AUDIT,
    {"dependencies": [{"name": "a", "vulns": [{"id": "X-1"}]}]},
)
_GOALS = [{"name": "p95_seconds", "value": 0.5, "result": "met"}]
_UNKNOWN = [{"name": "p95_seconds", "value": None, "result": "unknown"}]
document(
    "A018",
    "reports/launch-metrics.json",
    {"at": ago(hours=2), "targets": _GOALS},
    {"targets": _UNKNOWN},
)
case(
    "A020",
    [computed(since="2020-01-01")],
    [put("docs/runbooks/a.md", "learned"), committed()],
    [put("other.md", "x"), committed()],
)
_ENTRY = {"what": "smaller images", "before": 2.4, "expected_gain": 0.3}
document(
    "A022",
    "launch/optimisation.json",
    {"entries": [_ENTRY]},
    {"entries": [{"what": "images", "expected_gain": 0.3}]},
)
