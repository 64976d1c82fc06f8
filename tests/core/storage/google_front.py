"""A stand-in for Google Cloud Storage: the XML API's objects, generations and multipart uploads.

Written after Google's reference, because no package's emulator speaks that API. It checks
conditions, and not signatures.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from insight_cloud.core.storage import Credentials

__all__ = ["GoogleFront", "google_front"]

_KEPT = ("content-type", "cache-control", "content-encoding", "x-goog-storage-class")


@dataclass(frozen=True)
class _Object:
    body: bytes
    generation: int
    headers: dict[str, str]


@dataclass
class GoogleFront:
    """Buckets that exist as soon as they are named, except `no-such-bucket`."""

    endpoint: str
    credentials: Credentials
    objects: dict[tuple[str, str], _Object] = field(default_factory=dict)
    uploads: dict[str, tuple[str, str, dict[str, str], dict[int, bytes]]] = field(
        default_factory=dict
    )
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1_700_000_000_000_000))
    lock: Any = field(default_factory=threading.RLock)

    def url(self, bucket: str, prefix: str = "") -> str:
        return f"gs://{bucket}/{prefix}?endpoint={self.endpoint}"


@contextmanager
def google_front(folder: Path) -> Iterator[GoogleFront]:
    """The stand-in on loopback; the key of its service account is written to `folder`."""
    key = folder / "service-account.json"
    front = GoogleFront("", Credentials(google_credentials=key))

    class Handler(_Handler):
        store = front

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        front.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        nobody = {"client_email": "", "private_key": "", "private_key_id": ""}
        key.write_text(
            json.dumps({"gcs_base_url": front.endpoint, "disable_oauth": True, **nobody})
        )
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield front
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: GoogleFront

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _where(self) -> tuple[str, str, dict[str, str]]:
        parts = urlsplit(self.path)
        bucket, _, name = parts.path.removeprefix("/").partition("/")
        query = {k: v[0] for k, v in parse_qs(parts.query, keep_blank_values=True).items()}
        return unquote(bucket), unquote(name), query

    def _answer(self, status: int, body: bytes = b"", /, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "content_length" not in headers:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _fail(self, status: int, code: str) -> None:
        self._answer(status, f"<Error><Code>{code}</Code></Error>".encode())

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def _kept(self) -> dict[str, str]:
        return {name: self.headers[name] for name in _KEPT if name in self.headers}

    def _keep(self, place: tuple[str, str], body: bytes, headers: dict[str, str]) -> _Object | None:
        """Store it if the condition holds."""
        with self.store.lock:
            old = self.store.objects.get(place)
            wanted = self.headers.get("x-goog-if-generation-match")
            if wanted is not None and int(wanted) != (old.generation if old else 0):
                return None
            new = _Object(body, next(self.store.numbers), headers)
            self.store.objects[place] = new
            return new

    def _described(self, found: _Object) -> dict[str, str]:
        return {
            "etag": f'"{hashlib.md5(found.body).hexdigest()}"',
            "x-goog-generation": str(found.generation),
            "last-modified": formatdate(usegmt=True),
            **found.headers,
        }

    def do_PUT(self) -> None:
        bucket, name, query = self._where()
        body = self._body()
        if bucket == "no-such-bucket":
            self._fail(404, "NoSuchBucket")
        elif "uploadId" in query:
            self.store.uploads[query["uploadId"]][3][int(query["partNumber"])] = body
            self._answer(200, etag=f'"{hashlib.md5(body).hexdigest()}"')
        elif (new := self._keep((bucket, name), body, self._kept())) is None:
            self._fail(412, "PreconditionFailed")
        else:
            self._answer(200, b"", **self._described(new))

    def do_POST(self) -> None:
        bucket, name, query = self._where()
        body = self._body()
        if "uploads" in query:
            identifier = f"upload-{next(self.store.numbers)}"
            self.store.uploads[identifier] = (bucket, name, self._kept(), {})
            text = f"<InitiateMultipartUploadResult><UploadId>{identifier}</UploadId>"
            self._answer(200, f"{text}</InitiateMultipartUploadResult>".encode())
            return
        bucket, name, headers, parts = self.store.uploads.pop(query["uploadId"])
        wanted = [int(n) for n in re.findall(rb"<PartNumber>(\d+)</PartNumber>", body)]
        assert wanted == sorted(parts)
        new = self._keep((bucket, name), b"".join(parts[n] for n in wanted), headers)
        assert new is not None
        described = self._described(new)
        text = f"<CompleteMultipartUploadResult><ETag>{escape(described['etag'])}</ETag>"
        self._answer(200, f"{text}</CompleteMultipartUploadResult>".encode(), **described)

    def do_DELETE(self) -> None:
        bucket, name, query = self._where()
        if "uploadId" in query:
            self.store.uploads.pop(query["uploadId"], None)
            self._answer(204)
        elif self.store.objects.pop((bucket, name), None) is None:
            self._fail(404, "NoSuchKey")
        else:
            self._answer(204)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        bucket, name, query = self._where()
        if bucket == "no-such-bucket":
            self._fail(404, "NoSuchBucket")
            return
        if not name:
            self._list(bucket, query)
            return
        found = self.store.objects.get((bucket, name))
        generation = query.get("generation")
        if found is None or (generation is not None and int(generation) != found.generation):
            self._fail(404, "NoSuchKey")
            return
        described = self._described(found)
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
        if span is None:
            self._answer(200, found.body, content_length=str(len(found.body)), **described)
            return
        start, end = int(span[1]), min(int(span[2]), len(found.body) - 1)
        described["content-range"] = f"bytes {start}-{end}/{len(found.body)}"
        self._answer(206, found.body[start : end + 1], **described)

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        prefix, after = query.get("prefix", ""), query.get("continuation-token", "")
        names = sorted(
            name
            for place, name in list(self.store.objects)
            if place == bucket and name.startswith(prefix) and name > after
        )
        page, more = names[:1000], len(names) > 1000
        items = "".join(
            f"<Contents><Key>{escape(name)}</Key><Generation>{found.generation}</Generation>"
            "<LastModified>2026-11-25T10:00:00.000Z</LastModified>"
            f'<ETag>"x"</ETag><Size>{len(found.body)}</Size></Contents>'
            for name in page
            if (found := self.store.objects.get((bucket, name))) is not None
        )
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        text = f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}{items}"
        self._answer(200, f"{text}</ListBucketResult>".encode())
