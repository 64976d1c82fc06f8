from __future__ import annotations

from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from insight_cloud.core.errors import SettingsError
from insight_cloud.database import conninfo


def build(url: str, *, pgbouncer: bool = False) -> dict[str, Any]:
    return conninfo_to_dict(
        conninfo.build(
            url,
            application_name="insight",
            connect_timeout_seconds=5,
            statement_timeout_seconds=30,
            pgbouncer=pgbouncer,
        )
    )


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@db.example.org/insight",
        "postgresql://u@10.0.0.1/insight",
        "postgresql://u@localhost,db.example.org/insight",
        "host=db.example.org hostaddr=127.0.0.1",
        "postgresql://u@localhost.example.org/insight",
    ],
)
def test_a_server_beyond_this_machine_must_prove_who_it_is(url: str) -> None:
    found = build(url)
    assert found["sslmode"] == "verify-full"
    assert found["sslrootcert"]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///insight",
        "postgresql://u@localhost/insight",
        "postgresql://u@127.0.0.1/insight",
        "postgresql://u@[::1]/insight",
        "postgresql://u@/insight?host=/run/postgresql",
        "hostaddr=127.0.0.1",
    ],
)
def test_this_machine_needs_no_certificate(url: str) -> None:
    assert "sslmode" not in build(url)


def test_what_the_url_says_is_kept() -> None:
    url = "postgresql://u@db.example.org/insight?sslmode=disable&application_name=mine"
    found = build(url)
    assert found["sslmode"] == "disable"
    assert "sslrootcert" not in found
    assert found["application_name"] == "mine"
    own = build("postgresql://db.example.org/insight?sslrootcert=/own.pem")
    assert (own["sslmode"], own["sslrootcert"]) == ("verify-full", "/own.pem")


def test_the_time_limit_joins_the_urls_own_options() -> None:
    found = build("postgresql:///insight?options=-c%20search_path%3Dx")
    assert found["options"] == "-c search_path=x -c statement_timeout=30000 -c timezone=UTC"


def test_pgbouncer_gets_no_start_up_options() -> None:
    assert "options" not in build("postgresql:///insight", pgbouncer=True)
    assert build("postgresql:///a?options=-cx%3D1", pgbouncer=True)["options"] == "-cx=1"


def test_a_wrong_url_is_refused_without_quoting_it() -> None:
    with pytest.raises(SettingsError) as caught:
        build("postgresql://user:hunter2@host:port:1/x?y")
    assert "hunter2" not in str(caught.value)
