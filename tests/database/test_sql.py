from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.core.errors import Corrupt
from insight_cloud.database import Query, sql

FILE = """
-- Everything about users.

-- name: get_user
-- One user; the address in any case.
select id, name from users where lower(email) = lower(%(email)s);

-- name: delete_users
delete from users where name like 'a%%' and id <> %(id)s
"""


def load(folder: Path, text: str) -> sql.Queries:
    file = folder / "queries.sql"
    file.write_text(text, encoding="utf-8")
    return sql.load(file)


def test_a_file_becomes_queries_by_name(tmp_path: Path) -> None:
    queries = load(tmp_path, FILE)
    assert [query.name for query in queries] == ["get_user", "delete_users"]
    assert len(queries) == 2
    assert queries.get_user.parameters == {"email"}
    assert queries.get_user.text.endswith("lower(%(email)s)")


def test_an_unknown_name_is_an_attribute_error(tmp_path: Path) -> None:
    with pytest.raises(AttributeError, match="get_nobody"):
        _ = load(tmp_path, FILE).get_nobody


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("select 1\n-- name: a\nselect 2", "before the first"),
        ("-- name: a\nselect 1\n-- name: a\nselect 2", "two queries"),
        ("-- name: 1a\nselect 1", "cannot be the name"),
        ("-- name: a-b\nselect 1", "cannot be the name"),
        ("-- name:\nselect 1", "cannot be the name"),
        ("-- name: a\n-- nothing\n;\n", "empty"),
        ("-- name: a\nselect %(x)s where y like 'a%'", "single percent"),
        ("-- name: a\nselect %(x)s where y like '%s'", "single percent"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(Corrupt, match=problem):
        load(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("select 1", True),
        ("  -- why\n  SELECT 'insert into'", True),
        ("/* update */ with a as (select 1) select * from a", True),
        ('select "update" from t', True),
        ("table users", True),
        ("with gone as (delete from users returning id) select id from gone", False),
        ("select * into copy from users", False),
        ("insert into users values (1)", False),
        ("update users set id = 1", False),
        ("call work()", False),
        ("selection", False),
    ],
)
def test_a_read_is_told_from_a_write(text: str, reads: bool) -> None:  # noqa: FBT001 - a table
    assert Query("q", text).reads is reads


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "select  *\nfrom t where id = 12 and s = 'it''s'",
            "select * from t where id = ? and s = ?",
        ),
        ("select a1, 1.5", "select a1, ?"),
    ],
)
def test_a_fingerprint_holds_no_literal(text: str, expected: str) -> None:
    assert sql.fingerprint(text) == expected


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=50))
def test_no_text_in_quotes_gets_into_a_fingerprint(secret: str) -> None:
    quoted = secret.replace("'", "''")
    assert sql.fingerprint(f"select '{quoted}' as found") == "select ? as found"


@given(st.text(max_size=300))
def test_a_fingerprint_is_one_short_line(text: str) -> None:
    found = sql.fingerprint(text)
    assert len(found) <= 120
    assert "\n" not in found
