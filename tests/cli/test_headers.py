"""`insight headers score` against a real server on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from click.testing import CliRunner, Result

from insight_cloud.cli import insight
from insight_cloud.core.errors import Invalid, Unavailable


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(404 if self.path == "/missing" else 200)
        self.send_header("content-security-policy", "default-src 'none'; frame-ancestors 'none'")
        self.send_header("x-content-type-options", "nosniff")
        self.end_headers()

    do_OPTIONS = do_GET  # noqa: N815 - the name that http.server asks for

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(insight, ["headers", "score", *arguments])


def test_each_url_is_scored_with_reasons(url: str) -> None:
    done = run(f"{url}/", f"{url}/missing")
    assert done.exit_code == 0
    # no HTTPS -20, no redirect -20; bonuses do not count below 90
    assert f"{url}/  C+ 60  (HTTP 200)" in done.output
    assert f"{url}/missing  C+ 60  (HTTP 404)" in done.output
    assert " +10  content-security-policy        strict, and default-src is 'none'" in done.output


def test_json_holds_the_same(url: str) -> None:
    (found,) = json.loads(run("--json", url).output)
    assert (found["score"], found["grade"], found["status"]) == (60, "C+", 200)
    assert len(found["tests"]) == 10
    assert {"test", "outcome", "modifier", "reason"} == set(found["tests"][0])


def test_a_score_below_the_wanted_one_fails(url: str) -> None:
    assert run("--at-least", "60", url).exit_code == 0
    below = run("--at-least", "61", url)
    assert isinstance(below.exception, SystemExit), below.exception
    assert below.exit_code == 1
    assert "C+ 60" in below.output
    assert run("--at-least", "146", url).exit_code == 2


def test_what_cannot_be_asked_is_an_error() -> None:
    assert isinstance(run("nonsense").exception, Invalid)
    assert isinstance(run("http://127.0.0.1:1/").exception, Unavailable)
