"""Stand-ins with a memory for the APIs of Cloudflare and CloudFront, on loopback.

Cloudflare's purge calls are held against its published schema; those of Workers and CloudFront
against what their references say: names, sizes, tokens, signatures.
"""

from __future__ import annotations

import base64
import email.parser
import email.policy
import itertools
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree as ET

from jsonschema import Draft202012Validator

from insight_cloud.core import sigv4

__all__ = [
    "ACCOUNT",
    "DISTRIBUTION",
    "KEY",
    "TOKEN",
    "ZONE",
    "CloudFrontFront",
    "CloudflareFront",
    "cloudflare_front",
    "cloudfront_front",
]

TOKEN = "token-of-the-tests"
ZONE = "0123456789abcdef0123456789abcdef"
ACCOUNT = "fedcba9876543210fedcba9876543210"
DISTRIBUTION = "E2QWRUHAPOMQZL"
KEY = sigv4.Key("AKIATESTS", "the-secret-of-the-tests")

_SPEC = json.loads((Path(__file__).parents[1] / "data" / "cloudflare-purge.json").read_text())
_MOST_ITEMS = 100


class _Front(ThreadingHTTPServer):
    """Answers by `handle`; `faults` are statuses that are given first, one a request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.faults: list[tuple[int, dict[str, str]]] = []
        self.requests: list[str] = []

    def handle(
        self, method: str, path: str, headers: Any, body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        raise NotImplementedError


class _Handler(BaseHTTPRequestHandler):
    server: _Front

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.requests.append(f"{self.command} {self.path}")
        if self.server.faults:
            status, headers = self.server.faults.pop(0)
            answer = b"{}"
        else:
            status, headers, answer = self.server.handle(
                self.command, self.path, self.headers, body
            )
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()


class CloudflareFront(_Front):
    """Purge calls, and Workers' assets with the site that they become at `/`."""

    def __init__(self) -> None:
        super().__init__()
        self.api = f"{self.url}/client/v4"
        self.purged: list[tuple[str, dict[str, Any]]] = []
        self.stored: dict[str, tuple[bytes, str]] = {}
        self.manifest: dict[str, dict[str, Any]] = {}
        self.deployed: dict[str, str] = {}
        self.headers_text = ""
        self.uploaded: list[str] = []
        self.fail_switch = False
        self._sessions: dict[str, dict[str, dict[str, Any]]] = {}
        self._numbers = itertools.count(1)

    @property
    def urls(self) -> list[str]:
        """Every address that was purged."""
        return [url for _, body in self.purged for url in body.get("files", ())]

    def handle(
        self, method: str, path: str, headers: Any, body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(path)
        if not parts.path.startswith("/client/v4/"):
            return self._site(unquote(parts.path))
        route = parts.path.removeprefix("/client/v4")
        token = headers.get("authorization", "").removeprefix("Bearer ")
        if route == f"/accounts/{ACCOUNT}/workers/assets/upload" and parts.query == "base64=true":
            status, result = self._upload(token, headers, body)
        elif token != TOKEN:
            status, result = 403, "Authentication error"
        elif (method, route) == ("POST", f"/zones/{ZONE}/purge_cache") or (
            method,
            route,
        ) == ("POST", f"/zones/{ZONE}/invalidate_cache"):
            status, result = self._purge(route, json.loads(body))
        elif found := re.fullmatch(rf"/accounts/{ACCOUNT}/workers/scripts/([a-z-]+)(.*)", route):
            status, result = self._script(method, found[2], headers, body)
        else:
            status, result = 404, f"no such route {method} {route}"
        return _envelope(status, result)

    def _purge(self, route: str, body: dict[str, Any]) -> tuple[int, Any]:
        path = route.replace(ZONE, "{zone_id}")
        schema = _SPEC["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        complaint = next(
            Draft202012Validator({**schema["schema"], **_COMPONENTS}).iter_errors(body), None
        )
        if complaint is not None or any(
            isinstance(value, list) and not 0 < len(value) <= _MOST_ITEMS for value in body.values()
        ):
            return 400, "the body does not follow the schema"
        self.purged.append((route.rpartition("/")[2], body))
        return 200, {"id": ZONE}

    def _script(self, method: str, rest: str, headers: Any, body: bytes) -> tuple[int, Any]:
        if (method, rest) == ("POST", "/assets-upload-session"):
            return self._session(json.loads(body)["manifest"])
        if (method, rest) != ("PUT", ""):
            return 404, "no such route"
        metadata = json.loads(_form(headers, body)["metadata"][0])
        session = self._sessions.get(metadata["assets"]["jwt"])
        if session is None or not re.fullmatch(r"\d{4}-\d\d-\d\d", metadata["compatibility_date"]):
            return 400, "the upload is not complete"
        if self.fail_switch:
            return 500, "no"
        self.manifest = session
        self.deployed = {path: one["hash"] for path, one in session.items()}
        self.headers_text = metadata["assets"]["config"]["_headers"]
        return 200, {"id": "script"}

    def _session(self, manifest: dict[str, dict[str, Any]]) -> tuple[int, Any]:
        for path, one in manifest.items():
            if not path.startswith("/") or not re.fullmatch(r"[0-9a-f]{32}", one["hash"]):
                return 400, f"wrong entry {path}"
            if one["size"] > 25 * 1024 * 1024:
                return 400, f"{path} is too large"
        token = f"session-{next(self._numbers)}"
        self._sessions[f"pending-{token}"] = manifest
        missing = sorted({one["hash"] for one in manifest.values()} - self.stored.keys())
        if not missing:
            self._sessions[token] = manifest
            return 200, {"jwt": token, "buckets": []}
        buckets = [missing[start : start + 3] for start in range(0, len(missing), 3)]
        return 200, {"jwt": f"pending-{token}", "buckets": buckets}

    def _upload(self, token: str, headers: Any, body: bytes) -> tuple[int, Any]:
        manifest = self._sessions.get(token)
        if manifest is None:
            return 401, "the token is of no session"
        sizes = {one["hash"]: one["size"] for one in manifest.values()}
        for name, (content, kind) in _form(headers, body).items():
            decoded = base64.b64decode(content, validate=True)
            if sizes.get(name) != len(decoded):
                return 400, f"{name} is not of its size"
            self.stored[name] = (decoded, kind)
            self.uploaded.append(name)
        if not all(name in self.stored for name in sizes):
            return 202, {}
        complete = token.removeprefix("pending-")
        self._sessions[complete] = manifest
        return 201, {"jwt": complete}

    def _site(self, path: str) -> tuple[int, dict[str, str], bytes]:
        name = self.deployed.get(path) or self.deployed.get(f"{path.rstrip('/')}/index.html")
        if name is None:
            return 404, {"content-type": "text/plain"}, b"not found"
        body, kind = self.stored[name]
        return 200, {"content-type": kind}, body


class CloudFrontFront(_Front):
    """Invalidations of one distribution; the signature is recomputed from the secret."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[str]] = []
        self.references: list[str] = []

    def handle(
        self, method: str, path: str, headers: Any, body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        if (method, path) != ("POST", f"/2020-05-31/distribution/{DISTRIBUTION}/invalidation"):
            return 404, {}, b"<Error><Code>NoSuchDistribution</Code></Error>"
        stamp = datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        expected = sigv4.sign(
            method,
            f"{self.url}{path}",
            key=KEY,
            region="us-east-1",
            service="cloudfront",
            now=stamp,
            body=body,
            headers={"content-type": headers["content-type"]},
        )
        if headers["authorization"] != expected["authorization"]:
            return 403, {}, b"<Error><Code>SignatureDoesNotMatch</Code></Error>"
        space = "{http://cloudfront.amazonaws.com/doc/2020-05-31/}"
        batch = ET.fromstring(body)
        assert batch.tag == f"{space}InvalidationBatch"
        paths = [one.text or "" for one in batch.iter(f"{space}Path")]
        assert batch.findtext(f"{space}Paths/{space}Quantity") == str(len(paths))
        assert all(path.startswith("/") for path in paths)
        self.batches.append(paths)
        self.references.append(batch.findtext(f"{space}CallerReference") or "")
        return 201, {}, b"<Invalidation/>"


_COMPONENTS = {
    "$defs": _SPEC["components"]["schemas"],
    "components": _SPEC["components"],
}


@contextmanager
def cloudflare_front() -> Iterator[CloudflareFront]:
    with _running(CloudflareFront()) as front:
        yield front


@contextmanager
def cloudfront_front() -> Iterator[CloudFrontFront]:
    with _running(CloudFrontFront()) as front:
        yield front


Server = TypeVar("Server", bound=_Front)


@contextmanager
def _running(server: Server) -> Iterator[Server]:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _envelope(status: int, result: Any) -> tuple[int, dict[str, str], bytes]:
    good = status < 400
    body = {
        "success": good,
        "errors": [] if good else [{"code": 10000, "message": result}],
        "messages": [],
        "result": result if good else None,
    }
    return status, {"content-type": "application/json"}, json.dumps(body).encode()


def _form(headers: Any, body: bytes) -> dict[str, tuple[str, str]]:
    """Read a multipart form: the value and the type of each field."""
    head = f"content-type: {headers['content-type']}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    fields = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        kind = str(part["content-type"]).replace('"', "")
        fields[str(name)] = (content.decode(), kind)
    return fields
