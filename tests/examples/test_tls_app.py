"""The example of certificates gets one from a real authority, and serves it."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

from tests.patience import BUSY
from tests.tls.pebble import free_port, pebble

EXAMPLE = Path(__file__).parents[2] / "examples" / "tls_app.py"


def test_it_serves_a_certificate_of_the_authority(tmp_path: Path) -> None:
    https = free_port()
    with pebble() as acme:
        environment = {
            "PATH": os.environ["PATH"],
            "INSIGHT_NAME": "www.site.example",
            "INSIGHT_DIRECTORY": str(tmp_path / "certificates"),
            "INSIGHT_ACME": acme.url,
            "INSIGHT_ACME_CA": str(acme.ca_file),
            "INSIGHT_HTTP": str(acme.http_port),
            "INSIGHT_HTTPS": str(https),
        }
        process = subprocess.Popen(
            [sys.executable, str(EXAMPLE)], env=environment, stderr=subprocess.DEVNULL
        )
        try:
            trust = ssl.create_default_context(cadata=acme.root().decode())
            limit = time.monotonic() + 5 * BUSY
            while not _greets(https, trust):
                assert process.poll() is None
                assert time.monotonic() < limit, "no certificate came"
                time.sleep(0.1)
        finally:
            process.kill()
            process.wait()


def _greets(port: int, trust: ssl.SSLContext) -> bool:
    try:
        with (
            socket.create_connection(("127.0.0.1", port), 10) as plain,
            trust.wrap_socket(plain, server_hostname="www.site.example") as connection,
        ):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
    except OSError:
        return False
    return b" 200 " in answer and b"hello\n" in answer
