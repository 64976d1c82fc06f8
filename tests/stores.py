"""Real object stores on loopback for the tests: an S3 server (moto), Azurite, a directory.

Import the fixtures `s3_server` and `azurite` in a package's `conftest.py`; they are shared by a
session. Each test makes a bucket of its own:

    store = open_store(s3_server.bucket(), s3_server.credentials)
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from insight_cloud.core import sigv4
from insight_cloud.core.storage import Credentials

__all__ = ["Azurite", "S3Server", "azurite", "azurite_fixture", "s3_server", "s3_server_fixture"]

_NODE = Path(__file__).parent / "node"
_ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_MOTO = """
import logging, threading
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print("port", server.get_host_and_port()[1], flush=True)
threading.Event().wait()
"""


@dataclass(frozen=True, slots=True)
class S3Server:
    """An S3 server that accepts every key."""

    endpoint: str
    process: subprocess.Popen[str]

    @property
    def credentials(self) -> Credentials:
        return Credentials(
            aws_access_key_id="AKIATESTS",
            aws_secret_access_key="the-secret-of-the-tests",
            aws_region="us-east-1",
            aws_endpoint_url=self.endpoint,
        )

    def bucket(self, prefix: str = "") -> str:
        """The URL of a new bucket, or of a folder in it."""
        name = f"bucket-{uuid4().hex}"
        httpx.put(f"{self.endpoint}/{name}").raise_for_status()
        return f"s3://{name}/{prefix}"

    def headers(self, url: str, path: str) -> httpx.Headers:
        """What the server says of an object in the store at `url`."""
        target = f"{self.endpoint}/{url.removeprefix('s3://').rstrip('/')}/{path}"
        given = self.credentials
        key = sigv4.Key(given.aws_access_key_id, given.aws_secret_access_key)
        signed = sigv4.sign(
            "HEAD", target, key=key, region="us-east-1", service="s3", now=datetime.now(UTC)
        )
        answer = httpx.head(target, headers=signed)
        answer.raise_for_status()
        return answer.headers


@dataclass(frozen=True, slots=True)
class Azurite:
    """Microsoft's emulator of Azure Blob Storage; it checks signatures."""

    endpoint: str
    process: subprocess.Popen[str]

    @property
    def credentials(self) -> Credentials:
        return Credentials(
            azure_connection_string=(
                f"DefaultEndpointsProtocol=http;AccountName={_ACCOUNT};AccountKey={_KEY};"
                f"BlobEndpoint={self.endpoint}/{_ACCOUNT};"
            )
        )

    def container(self, prefix: str = "") -> str:
        """The URL of a new container, or of a folder in it."""
        name = f"container-{uuid4().hex}"
        self._request("PUT", name, {"restype": "container"})
        return f"az://{name}/{prefix}"

    def headers(self, url: str, path: str) -> httpx.Headers:
        """What the server says of an object in the store at `url`."""
        place = url.removeprefix("az://").rstrip("/")
        return self._request("HEAD", f"{place}/{path}", {}).headers

    def _request(self, method: str, place: str, query: dict[str, str]) -> httpx.Response:
        """One request, signed with the account's key as Azure documents it."""
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-12-02"}
        named = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
        resource = f"/{_ACCOUNT}/{_ACCOUNT}/{place}"
        resource += "".join(f"\n{name}:{value}" for name, value in sorted(query.items()))
        text = f"{method}{chr(10) * 12}{named}{resource}"
        digest = hmac.new(base64.b64decode(_KEY), text.encode(), hashlib.sha256).digest()
        headers["Authorization"] = f"SharedKey {_ACCOUNT}:{base64.b64encode(digest).decode()}"
        url = f"{self.endpoint}/{_ACCOUNT}/{place}"
        answer = httpx.request(method, url, params=query, headers=headers)
        answer.raise_for_status()
        return answer


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """An S3 server of one's own."""
    with _started([sys.executable, "-c", _MOTO], r"port (\d+)") as (process, port):
        yield S3Server(f"http://127.0.0.1:{port}", process)


@contextmanager
def azurite() -> Iterator[Azurite]:
    """An Azurite of one's own. Without it the test is skipped; under CI=true it fails."""
    program = _NODE / "node_modules" / ".bin" / "azurite-blob"
    node = shutil.which("node")
    if node is None or not program.exists():
        reason = "Azurite is not installed (scripts/setup --tests)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    # Telemetry would phone home; the library speaks newer versions of the protocol than this.
    options = ["--blobPort", "0", "--silent", "--inMemoryPersistence"]
    options += ["--disableTelemetry", "--skipApiVersionCheck"]
    with _started([node, str(program), *options], r"listens on http://127.0.0.1:(\d+)") as started:
        process, port = started
        yield Azurite(f"http://127.0.0.1:{port}", process)


@pytest.fixture(name="s3_server", scope="session")
def s3_server_fixture() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture(name="azurite", scope="session")
def azurite_fixture() -> Iterator[Azurite]:
    with azurite() as server:
        yield server


@contextmanager
def _started(command: list[str], pattern: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server whose output names the port that it took; killed at the end."""
    with tempfile.TemporaryDirectory(prefix="insight-store-") as folder:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env={"PATH": os.environ.get("PATH", ""), "HOME": folder},
        )
        try:
            yield process, _port(process, pattern)
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def _port(process: subprocess.Popen[str], pattern: str) -> str:
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if found := re.search(pattern, line):
            return found[1]
    pytest.fail(f"a store of the tests did not start: {''.join(said)[-2000:]}")
