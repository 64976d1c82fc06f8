"""The list of unfinished uploads, as a server may send it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import pytest

from insight_cloud.core import sigv4
from insight_cloud.core.errors import Corrupt, Refused, Unavailable
from insight_cloud.core.storage.s3_uploads import Uploads

Answer = Callable[[dict[str, list[str]]], tuple[int, bytes]]


@asynccontextmanager
async def uploads(answer: Answer) -> AsyncIterator[Uploads]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answer(parse_qs(urlsplit(self.path).query, keep_blank_values=True))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield Uploads(
            f"http://127.0.0.1:{server.server_address[1]}",
            "bucket",
            "folder/",
            key=sigv4.Key("id", "secret"),
            region="us-east-1",
            connect_seconds=2,
            request_seconds=5,
        )
        server.shutdown()


def page(names: list[str], *, more: bool) -> bytes:
    items = "".join(
        f"<Upload><Key>folder/{name}</Key><UploadId>id-{name}</UploadId>"
        "<Initiated>2026-11-25T10:00:00.000Z</Initiated></Upload>"
        for name in names
    )
    return (
        '<?xml version="1.0"?><ListMultipartUploadsResult '
        'xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<IsTruncated>{str(more).lower()}</IsTruncated>"
        f"<NextKeyMarker>folder/{names[-1]}</NextKeyMarker>"
        f"<NextUploadIdMarker>id-{names[-1]}</NextUploadIdMarker>{items}"
        "</ListMultipartUploadsResult>"
    ).encode()


async def test_all_pages_are_read() -> None:
    def answer(query: dict[str, list[str]]) -> tuple[int, bytes]:
        assert query["prefix"] == ["folder/"]
        assert query["uploads"] == [""]
        if "key-marker" not in query:
            return 200, page(["a", "b"], more=True)
        assert query["key-marker"] == ["folder/b"]
        assert query["upload-id-marker"] == ["id-b"]
        return 200, page(["c"], more=False)

    async with uploads(answer) as found:
        assert [leftover.path for leftover in await found.find()] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, b"not XML", Corrupt),
        (200, b"x" * (9 * 1024 * 1024), Corrupt),
        (200, b"<R><Upload><Key>folder/a</Key><UploadId>x</UploadId></Upload></R>", Corrupt),
        (200, page(["a"], more=True), Corrupt),
        (403, b"<Error><Code>AccessDenied</Code></Error>", Refused),
        (400, b"<Error><Code>ExpiredToken</Code><Message>secret</Message></Error>", Refused),
        (500, b"", Unavailable),
        (503, b"", Unavailable),
    ],
)
async def test_a_wrong_answer_is_told(status: int, body: bytes, error: type[Exception]) -> None:
    async with uploads(lambda _: (status, body)) as found:
        with pytest.raises(error) as caught:
            await found.find()
    assert "secret" not in str(caught.value)
