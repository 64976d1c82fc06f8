"""A Git host on loopback: https, with git's own server program behind it."""

from __future__ import annotations

import contextlib
import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme

__all__ = ["Host", "hosting"]


@dataclass
class Host:
    """A running host, and what it was asked."""

    name: str
    authority: Path
    folder: Path
    asked: list[str] = field(default_factory=list)
    moved: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where its repositories are."""
        return f"https://{self.name}"

    def repository(self, name: str, files: dict[str, bytes], *, branch: str = "main") -> str:
        """Make a repository with one commit; return the commit."""
        place = self.folder / name
        git(self.folder, "init", "-q", "-b", branch, str(place))
        for path, data in files.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_bytes(data)
        git(place, "add", "-A", "-f")
        git(place, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "first")
        return git(place, "rev-parse", "HEAD")


def git(folder: Path, *arguments: str) -> str:
    """Run git as somebody without any configuration."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
    }
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@contextlib.contextmanager
def hosting(folder: Path) -> Iterator[Host]:
    """Serve the repositories in `folder` as `localhost`."""
    authority = trustme.CA()
    file = folder / "authority.pem"
    authority.cert_pem.write_to_path(file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    host = Host(f"localhost:{server.server_address[1]}", file, folder)
    server.host = host  # type: ignore[attr-defined]  # our handler asks for it
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


class _Handler(BaseHTTPRequestHandler):
    """Each request is one of `git http-backend`."""

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _serve(self) -> None:
        host: Host = self.server.host  # type: ignore[attr-defined]  # set above
        host.asked.append(self.path)
        path, _, query = self.path.partition("?")
        for begin, target in host.moved.items():
            if path.startswith(begin):
                self.send_response(302)
                self.send_header("location", target + self.path.removeprefix(begin))
                self.end_headers()
                return
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(host.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "2",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "GIT_CONFIG_KEY_1": "uploadpack.allowAnySHA1InWant",
            "GIT_CONFIG_VALUE_1": "true",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("content-type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("content-encoding", ""),
            "GIT_PROTOCOL": self.headers.get("git-protocol", ""),
            "REMOTE_ADDR": "127.0.0.1",
        }
        done = subprocess.run(
            ["git", "http-backend"], input=body, env=environment, capture_output=True, check=False
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
        self.send_response(int(headers.pop("Status", "200 OK").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
