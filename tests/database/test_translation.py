from __future__ import annotations

import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import errors

from insight_cloud.core.errors import (
    Conflict,
    InsightError,
    Invalid,
    SettingsError,
    Unavailable,
)
from insight_cloud.database import Pool, Query, Violation
from insight_cloud.database.translation import translate
from tests import postgres

EVERY_ERROR = sorted(
    (
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.Error)
    ),
    key=lambda kind: kind.__name__,
)

INSERT = Query(
    "insert", "insert into links (hash, purpose, expires_at) values (%(h)s, %(p)s, %(t)s)"
)


class Unknown:
    """A type that psycopg cannot send."""


@pytest.mark.parametrize(
    ("text", "parameters", "expected"),
    [
        ("select %(a)s::text", {"a": "nul \0 byte"}, Invalid),
        ("select %(a)s::text", {"a": "surrogate \ud800"}, Invalid),
        ("select %(a)s::int", {"a": 2**40}, Invalid),
        ("select %(a)s::int8", {"a": 2**80}, Invalid),
        ("select %(a)s::uuid", {"a": "no uuid"}, Invalid),
        ("select %(a)s::jsonb", {"a": "{"}, Invalid),
        ("select '2024-13-01'::date", {}, Invalid),
        ("select 1 / %(a)s", {"a": 0}, Invalid),
        ("select 'infinity'::timestamptz", {}, Invalid),
        ("insert into links (hash, purpose, expires_at) values ('x', 'wrong', now())", {}, Invalid),
        ("insert into links (hash, purpose) values ('x', null)", {}, Invalid),
        ("insert into members (project_id, user_id, role) values (1, 1, 'viewer')", {}, Conflict),
        ("select pg_terminate_backend(pg_backend_pid())", {}, Unavailable),
        ("select pg_cancel_backend(pg_backend_pid())", {}, Unavailable),
        ("select * from nowhere", {}, Unavailable),
        ("select nothing from users", {}, Unavailable),
        ("select nothing(1)", {}, Unavailable),
        ("select from from", {}, InsightError),
        ("select 1; select %(a)s", {"a": 1}, InsightError),
        ("select %(a)s", {"b": 1}, InsightError),
        ("select %(a)s, %s", {"a": 1}, InsightError),
        ("select %(a)s", {"a": Unknown()}, InsightError),
        ("do $$ begin raise exception 'no'; end $$", {}, InsightError),
        ("copy users from stdin", {}, InsightError),
    ],
)
async def test_no_foreign_error_escapes(
    pool: Pool, text: str, parameters: dict[str, Any], expected: type[InsightError]
) -> None:
    query = Query("some_query", text)
    with pytest.raises(expected) as caught:
        await pool.fetch_value(query, **parameters)
    assert "some_query" in str(caught.value)
    with pytest.raises(expected):
        async with pool.transaction() as connection:
            await connection.fetch_all(query, tuple, **parameters)
    assert await pool.fetch_value("select 1") == 1
    assert await pool.fetch_value("select 1") == 1


async def test_a_violation_names_its_constraint_and_not_the_value(pool: Pool) -> None:
    insert = "insert into users (email, name, password_hash) values (%(email)s, '', '')"
    await pool.execute(insert, email="ada@example.org")
    with pytest.raises(Violation) as caught:
        await pool.execute(insert, email="ADA@example.org")
    assert caught.value.constraint == "users_email"
    assert "example.org" not in str(caught.value).lower()


async def test_a_role_without_the_right_is_a_matter_of_settings(migrated_url: str) -> None:
    role = f"reader_{uuid.uuid4().hex}"
    async with Pool(migrated_url, min_size=1) as pool, pool.transaction() as connection:
        await connection.execute(Query("role", f"create role {role}"))
        await connection.execute(Query("role", f"set local role {role}"))
        with pytest.raises(SettingsError, match="users"):
            await connection.fetch_all("select * from users", tuple)
        await connection._link.execute("rollback")


async def test_a_locked_row_is_unavailable(pool: Pool) -> None:
    async with pool.transaction() as holder, pool.transaction() as other:
        await holder.execute("lock table users")
        await other.execute("set local lock_timeout = '10ms'")
        with pytest.raises(Unavailable, match="lock timeout"):
            await other.fetch_all("select * from users", tuple)
        await other._link.execute("rollback")


async def test_a_server_that_became_read_only_is_unavailable(pool: Pool) -> None:
    async with pool.transaction() as connection:
        await connection.execute("set transaction read only")
        with pytest.raises(Unavailable, match="read-only"):
            await connection.execute("delete from users")
        await connection._link.execute("rollback")


@pytest.mark.parametrize("kind", EVERY_ERROR)
def test_every_error_of_psycopg_has_a_translation(kind: type[errors.Error]) -> None:
    found = translate(kind("what happened"), "get_user")
    assert isinstance(found, InsightError)
    assert "get_user" in str(found)


@given(st.text())
def test_a_translated_message_keeps_what_the_driver_said(said: str) -> None:
    assert said.strip() in str(translate(errors.OperationalError(said), "q"))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of `db.example.org` that no authority has signed, with its key."""
    folder = tmp_path_factory.mktemp("tls")
    subject = ["-subj", "/CN=db.example.org", "-addext", "subjectAltName=DNS:db.example.org"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    subprocess.run([*command, *files, *subject], check=True, capture_output=True)
    return folder / "certificate.pem"


async def test_a_server_without_a_trusted_certificate_is_not_talked_to(
    certificate: Path, unused_tcp_port: int
) -> None:
    postgres.require_debian()
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(unused_tcp_port),
        "ssl": "on",
        "ssl_cert_file": "certificate.pem",
        "ssl_key_file": "key.pem",
    }
    files = (certificate, certificate.with_name("key.pem"))
    with postgres.debian(settings, files=files) as server:
        await server.ready()
        url = f"postgresql://insight@db.example.org:{unused_tcp_port}/postgres?hostaddr=127.0.0.1"
        with pytest.raises(Unavailable, match="certificate verify failed"):
            async with Pool(url, min_size=1, acquire_timeout_seconds=0.5):
                pass
        other = url.replace("db.example.org", "other.example.org")
        trusted = f"&sslrootcert={certificate}"
        with pytest.raises(Unavailable, match="does not match host name"):
            async with Pool(other + trusted, min_size=1, acquire_timeout_seconds=0.5):
                pass
        async with Pool(url + trusted, min_size=1) as pool:
            query = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
            assert await pool.fetch_value(query) is True
