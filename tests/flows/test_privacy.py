"""The privacy officer: what a command sends is what it shows, and counts hold no path."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import zstandard

from insight_cloud.app import privacy
from insight_cloud.app.detectors import tokens
from tests.app.privacy.bodies import CASES, RUN, with_more
from tests.flows.conftest import PASSWORD
from tests.serving import Served, insight

SOURCE = "import os\n\n\ndef charge(command):\n    return eval(command)\n"
NAMES = (b"payments", b"charge_card", b"charge", b"eval", b"S307", b"F401", b"ledger.git")


class Recorder:
    """A line between a client and the service: everything that goes either way is kept."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.sent = bytearray()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            for source, sink, kept in ((near, far, self.sent), (far, near, None)):
                threading.Thread(target=_carry, args=(source, sink, kept), daemon=True).start()


def _carry(source: socket.socket, sink: socket.socket, kept: bytearray | None) -> None:
    try:
        while data := source.recv(65536):
            if kept is not None:
                kept += data
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@contextmanager
def recorded(service: Served) -> Iterator[Recorder]:
    url = httpx.URL(service.url)
    recorder = Recorder(url.host, url.port or 80)
    try:
        yield recorder
    finally:
        recorder.close()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "ledger"
    (folder / "payments").mkdir(parents=True)
    (folder / "payments" / "charge_card.py").write_text(SOURCE)
    for command in (
        ["init", "-q", "-b", "main"],
        ["remote", "add", "origin", "https://ada:hunter2secret@git.example/team/ledger.git"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "first"],
    ):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def environment(service: Served, **more: str) -> dict[str, str]:
    token = service.run("users", "token", "--name", "ci", "--scope", "ingest", "--scope", "read")
    return service.environment | {"INSIGHT_CLIENT__TOKEN": token} | more


def body_of(request: bytes) -> bytes:
    head, _, body = request.partition(b"\r\n\r\n")
    if b"content-encoding: zstd" not in head.lower():
        return body
    return zstandard.ZstdDecompressor().decompressobj().decompress(body)


def test_a_capture_of_counts_holds_no_path(service: Served, checkout: Path) -> None:
    log = checkout.parent / "log.sarif"
    with recorded(service) as recorder:
        around = environment(
            service,
            INSIGHT_CLIENT__SERVER=f"http://127.0.0.1:{recorder.port}",
            INSIGHT_CLIENT__PRIVACY_KEY="a key of ours",
        )
        insight(
            "analyze", ".", "--detectors", "ruff", "--format", "sarif", "--output", str(log),
            environment=around, cwd=checkout,
        )  # fmt: skip
        assert all(name in log.read_bytes() for name in (b"charge_card", b"S307", b"F401"))
        arguments = ["upload", str(log), "--privacy", "counts", "--project", "alias"]
        shown = insight(*arguments, "--dry-run", environment=around, cwd=checkout)
        assert bytes(recorder.sent) == b""
        insight(*arguments, environment=around, cwd=checkout)
        capture = bytes(recorder.sent)
    assert capture.startswith(b"POST /api/v1/projects/alias/snapshots HTTP/1.1\r\n")
    assert capture.count(b" HTTP/1.1\r\n") == 1
    for name in (*NAMES, b"git.example", b"hunter2", str(checkout).encode(), b"log.sarif"):
        assert name not in capture, name
    assert b'"remote"' in capture
    assert body_of(capture) == shown.stdout.encode()
    privacy.require(body_of(capture), "counts", tokens.find)
    answer = httpx.get(
        f"{service.url}/api/v1/projects/alias/summary",
        headers={"authorization": f"Bearer {around['INSIGHT_CLIENT__TOKEN']}"},
    )
    assert answer.json()["open"]["high"] >= 1


@pytest.mark.parametrize("level", privacy.LEVELS[1:4])
def test_what_is_shown_is_what_is_sent(
    service: Served, checkout: Path, level: privacy.Level
) -> None:
    with recorded(service) as recorder:
        around = environment(service, INSIGHT_CLIENT__SERVER=f"http://127.0.0.1:{recorder.port}")
        arguments = ["analyze", ".", "--detectors", "ruff", "--upload",
                     "--output", str(checkout.parent / "out.txt"), "--project",
                     f"shown-{level}", "--privacy", level]  # fmt: skip
        shown = insight(*arguments, "--dry-run", environment=around, cwd=checkout)
        assert bytes(recorder.sent) == b""
        insight(*arguments, environment=around, cwd=checkout)
        body = body_of(bytes(recorder.sent))
    assert body == shown.stdout.encode()
    privacy.require(body, level, tokens.find)
    assert (b"def charge" in body) == (level == "snippets")
    assert (b"os` imported" in body) == (level != "metadata")


def test_the_client_refuses_every_forbidden_field_before_it_sends(
    service: Served, tmp_path: Path
) -> None:
    """Each file by `privacy check`, which is what `upload` does to the bytes, and some by it."""
    with recorded(service) as recorder:
        around = environment(service, INSIGHT_CLIENT__SERVER=f"http://127.0.0.1:{recorder.port}")
        for level in ("metadata", "findings", "snippets"):
            pointer = next(pointer for of, pointer in CASES if of == level and "uri" in pointer)
            file = tmp_path / f"{level}.sarif"
            file.write_text(json.dumps(with_more(level, pointer)))
            arguments = ["upload", str(file), "--as-is", "--privacy", level, "--project", "no"]
            done = insight(*arguments, environment=around, cwd=tmp_path, check=False)
            assert done.returncode == 4
            assert pointer in done.stderr
            found = insight(
                "privacy", "check", level, str(file),
                environment=around, cwd=tmp_path, check=False,
            )  # fmt: skip
            assert found.returncode == 1
            assert found.stdout.startswith(f"{pointer}: ")
        assert bytes(recorder.sent) == b""


def test_a_project_set_to_counts_refuses_paths(service: Served, checkout: Path) -> None:
    """The story: set a project to counts, and any upload with a path is refused."""
    around = environment(service, INSIGHT_CLIENT__SERVER=service.url)
    insight("analyze", ".", "--detectors", "ruff", "--upload", environment=around, cwd=checkout)
    with httpx.Client(base_url=service.url) as client:
        tokens_ = client.post(
            "/api/v1/auth/token", json={"email": "lead@example.org", "password": PASSWORD}
        ).json()
        changed = client.patch(
            "/api/v1/projects/ledger",
            json={"privacy": "counts"},
            headers={"authorization": f"Bearer {tokens_['access_token']}"},
        )
        assert changed.json()["privacy"] == "counts"
    done = insight(
        "analyze",
        ".",
        "--detectors",
        "ruff",
        "--upload",
        environment=around,
        cwd=checkout,
        check=False,
    )
    assert done.returncode == 4
    assert "/artifactLocation/uri: not allowed at the privacy level 'counts'" in done.stderr
    done = insight(
        "analyze",
        ".",
        "--detectors",
        "ruff",
        "--upload",
        "--privacy",
        "counts",
        environment=around,
        cwd=checkout,
    )
    assert "open" in done.stderr
    assert RUN.tool not in done.stdout
