"""From a URL to connection parameters, safe by default: pure, apart from the pool that uses it."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Mapping

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from insight_cloud.core.errors import SettingsError

__all__ = ["build", "is_local"]


def build(
    url: str,
    *,
    application_name: str,
    connect_timeout_seconds: float,
    statement_timeout_seconds: float,
    pgbouncer: bool,
) -> str:
    """Complete `url` with what it leaves open; what it says is kept.

    TLS with a verified certificate to every server beyond this machine. A connection whose
    other end is gone is given up after the statement's time limit, also where no packet says so.
    PgBouncer refuses start-up options, so there the time limit is left to the server's role:
    `alter role insight set statement_timeout = '30s'`.

    Raises:
        SettingsError: `url` is no PostgreSQL connection URL.
    """
    try:
        given = conninfo_to_dict(url)
    except ProgrammingError as error:
        # libpq's message quotes the URL, password and all.
        raise SettingsError(
            "the database URL cannot be read: postgresql://USER@HOST/NAME"
        ) from error
    milliseconds = int(statement_timeout_seconds * 1000)
    wanted: dict[str, str | int | None] = {
        "application_name": application_name,
        "connect_timeout": max(2, round(connect_timeout_seconds)),
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": milliseconds,
    }
    if not pgbouncer:
        wanted["options"] = " ".join(
            [str(given.pop("options", "")), f"-c statement_timeout={milliseconds}"]
        ).strip()
    if not is_local(given):
        wanted["sslmode"] = "verify-full"
        if given.get("sslmode", "verify-full") in {"verify-full", "verify-ca"}:
            wanted["sslrootcert"] = _authorities()
    return make_conninfo("", **(wanted | given))


def is_local(parameters: Mapping[str, str | int | None]) -> bool:
    """Whether every host is a socket or an address of this machine itself."""
    hosts = str(parameters.get("host") or parameters.get("hostaddr") or "")
    return all(map(_is_local_host, hosts.split(",")))


def _is_local_host(host: str) -> bool:
    if not host or host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _authorities() -> str:
    """The file of this system's certificate authorities; the wheel's own libpq does not know it."""
    return ssl.get_default_verify_paths().cafile or "system"
