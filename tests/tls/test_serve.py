"""`insight serve` with TLS, from nothing to HTTPS, beside a real authority, without a proxy."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from insight_cloud.tls import certificate, prober, rating
from insight_cloud.tls.store import Store
from tests.patience import BUSY
from tests.tls.pebble import Answer, Pebble, pebble

_SECONDS = 5 * BUSY


@contextlib.contextmanager
def serving(home: Path, authority: Pebble, *arguments: str, **more: str) -> Iterator[Served]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "INSIGHT_DATABASE__DIRECTORY": str(home / "postgres"),
        "INSIGHT_SERVER__TLS": "true",
        "INSIGHT_TLS__DIRECTORY": str(home / "certificates"),
        "INSIGHT_TLS__NAMES": "www.site.example,site.example",
        "INSIGHT_TLS__ACME_URL": authority.url,
        "INSIGHT_TLS__ACME_CA_FILE": str(authority.ca_file),
        "INSIGHT_TLS__AGREE_TERMS": "true",
        "INSIGHT_TLS__HTTP_HOST": "127.0.0.1",
        "INSIGHT_TLS__HTTP_PORT": str(authority.http_port),
        **more,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "insight_cloud.cli", "serve", "--port", "0", *arguments],
        env=environment,
        cwd=home,
        stderr=subprocess.PIPE,
        text=True,
    )
    served = Served(process, environment, authority)
    try:
        yield served
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, served.said
    finally:
        process.kill()
        process.wait()


class Served:
    """The running service."""

    def __init__(
        self, process: subprocess.Popen[str], environment: dict[str, str], authority: Pebble
    ) -> None:
        self.process, self.environment = process, environment
        self.lines: list[str] = []
        self._root = authority.root().decode()
        threading.Thread(target=self._listen, daemon=True).start()
        self.port = int(self.wait_for(r"Insight Cloud is on https://www\.site\.example:(\d+)"))

    @property
    def said(self) -> str:
        return "".join(self.lines)

    def wait_for(self, pattern: str) -> str:
        limit = time.monotonic() + _SECONDS
        while time.monotonic() < limit:
            if match := re.search(pattern, self.said):
                return match[1]
            assert self.process.poll() is None, self.said
            time.sleep(0.02)
        pytest.fail(f"{pattern} was not said:\n{self.said}")

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self._root)

    def serial(self) -> str | None:
        """The serial number of what a visitor sees; None while it is not trusted."""
        try:
            with (
                socket.create_connection(("127.0.0.1", self.port), 20) as plain,
                self.context().wrap_socket(plain, server_hostname="site.example") as connection,
            ):
                der = connection.getpeercert(binary_form=True)
        except (OSError, ssl.SSLError):
            return None
        assert der is not None
        return certificate.load(ssl.DER_cert_to_PEM_cert(der).encode()).serial

    def until_serial(self, *known: str | None) -> str:
        limit = time.monotonic() + _SECONDS
        while time.monotonic() < limit:
            found = self.serial()
            if found not in {None, *known}:
                return str(found)
            time.sleep(0.02)
        pytest.fail(f"no new certificate is served:\n{self.said}")

    def insight(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "insight_cloud.cli", *arguments],
            env=self.environment,
            cwd=self.environment["HOME"],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def _listen(self) -> None:
        assert self.process.stderr is not None
        self.lines.extend(self.process.stderr)
        self.process.stderr.close()


@pytest.mark.parametrize("workers", [1, 2])
async def test_from_nothing_to_https_and_on_to_the_next_certificate(
    tmp_path: Path, workers: int
) -> None:
    with pebble() as authority, serving(tmp_path, authority, "--workers", str(workers)) as served:
        first = served.until_serial()
        plain = await _get(
            f"http://127.0.0.1:{authority.http_port}/x", headers={"Host": "site.example"}
        )
        assert plain.headers["location"] == f"https://site.example:{served.port}/x"
        async with httpx.AsyncClient(verify=served.context()) as client:
            answer = await client.get(
                f"https://127.0.0.1:{served.port}/api/health",
                extensions={"sni_hostname": "www.site.example"},
                headers={"Host": "www.site.example"},
            )
        assert answer.status_code == 200
        assert "max-age=" in answer.headers["strict-transport-security"]
        renewed = served.insight("tls", "renew", "--now")
        assert renewed.returncode == 0, renewed.stderr
        assert "whoever listens there must answer the challenge" in renewed.stderr
        second = served.until_serial(first)
        assert authority.front.orders[1]["replaces"].count(".") == 1
        # With many workers each follows by itself: none shows the old one any more.
        limit = time.monotonic() + BUSY
        while {served.serial() for _ in range(10)} != {second}:
            assert time.monotonic() < limit
        if workers == 1:
            served.process.send_signal(signal.SIGHUP)
            await _gets_an_a_plus(served, authority)
    assert "PRIVATE KEY" not in served.said


async def _get(url: str, headers: dict[str, str]) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.get(url, headers=headers)


async def _gets_an_a_plus(served: Served, authority: Pebble) -> None:
    found = await prober.probe("site.example", served.port, address="127.0.0.1")
    roots = certificate.load_roots(authority.root())
    grade = rating.rate(found, now=datetime.now(UTC), roots=roots)
    assert (grade.letter, grade.score, grade.caps) == ("A+", 96, ())


def test_a_certificate_that_is_there_is_served_while_the_authority_is_away(tmp_path: Path) -> None:
    with pebble() as authority:
        with serving(tmp_path, authority) as served:
            first = served.until_serial()
        authority.front.fault = lambda *_: Answer(503, close=True)
        state = tmp_path / "certificates" / "state.json"
        state.unlink()  # so that advice is asked for at once
        with serving(tmp_path, authority) as served:
            assert served.until_serial() == first
            assert Store(tmp_path / "certificates").history()[1:] == ()


def test_without_a_certificate_and_a_name_it_does_not_start(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "insight_cloud.cli", "serve", "--port", "0"],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "INSIGHT_SERVER__TLS": "true",
            "INSIGHT_TLS__DIRECTORY": str(tmp_path / "certificates"),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "set tls.names" in done.stderr
