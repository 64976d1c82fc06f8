from __future__ import annotations

import io
import json
import logging
import logging.config
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.core.errors import SettingsError
from insight_cloud.telemetry import logs, redact, request_id


def record(message: str, *args: Any, level: int = logging.INFO, **extra: Any) -> logging.LogRecord:
    made = logging.makeLogRecord(
        {"name": "insight.test", "msg": message, "args": args, "levelno": level, **extra}
    )
    made.levelname = logging.getLevelName(level)
    made.created = 1_764_000_000.25
    return made


def raised(message: str) -> Any:
    """What `sys.exc_info()` says of an error with `message`."""

    def fail() -> None:
        raise OSError(message)

    try:
        fail()
    except OSError:
        return sys.exc_info()


def as_json(made: logging.LogRecord) -> Any:
    text = logs.JsonFormatter().format(made)
    assert "\n" not in text
    return json.loads(text)


def test_a_record_is_one_json_object() -> None:
    assert as_json(record("cache.miss: %s of %d", "key", 2, backend="redis", tries=3)) == {
        "time": "2025-11-24T16:00:00.250Z",
        "level": "info",
        "logger": "insight.test",
        "event": "cache.miss",
        "message": "key of 2",
        "backend": "redis",
        "tries": 3,
    }


def test_an_event_may_stand_alone_or_not_at_all() -> None:
    assert as_json(record("http.request"))["event"] == "http.request"
    assert as_json(record("http.request"))["message"] == "http.request"
    plain = as_json(record("Started server process [7]"))
    assert "event" not in plain
    assert plain["message"] == "Started server process [7]"
    assert "event" not in as_json(record("see example.org for more"))


def test_the_request_id_is_in_every_line() -> None:
    token = request_id.set("a1b2c3d4")
    try:
        assert as_json(record("x"))["request_id"] == "a1b2c3d4"
        assert logs.LineFormatter().format(record("x")).endswith(" insight.test x request=a1b2c3d4")
    finally:
        request_id.reset(token)
    assert "request_id" not in as_json(record("x"))
    assert as_json(record("x", request_id="from-a-thread"))["request_id"] == "from-a-thread"


def test_what_the_record_itself_says_is_not_replaced_by_extra() -> None:
    made = as_json(record("x", level=logging.ERROR, time="never", logger="other", event="forged"))
    assert (made["level"], made["logger"]) == ("error", "insight.test")
    assert made["time"].startswith("2025-")


def test_an_error_has_its_type_message_and_stack() -> None:
    made = as_json(record("failed", exc_info=raised("no route to postgresql://ada:s3cret@db/x")))
    assert made["error"]["type"] == "OSError"
    assert made["error"]["message"] == "no route to postgresql://[redacted]@db/x"
    assert "test_logs.py" in made["error"]["stack"]
    assert "s3cret" not in json.dumps(made)


def test_a_line_for_people_is_one_line_unless_it_has_a_stack() -> None:
    line = logs.LineFormatter().format(record("a\nforged 10:00:00 \x1b[31mline", path="x\ny"))
    assert line.count("\n") == 0
    assert "a\\nforged" in line
    assert "\x1b" not in line
    assert line.endswith(r"path=x\ny")
    assert re.match(r"\d\d:\d\d:\d\d INFO    insight\.test ", line)
    text = logs.LineFormatter().format(record("failed", exc_info=raised("password=hunter2")))
    assert "Traceback" in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("postgresql://ada:s3cret@db:5432/x", "s3cret"),
        ("redis://:s3cret@cache/0", "s3cret"),
        ("https://0123456789abcdef@o1.ingest.sentry.io/7", "0123456789abcdef"),
        ("Authorization: Bearer abcdefgh12345678", "abcdefgh12345678"),
        ("Cookie: theme=dark; session=abc123", "abc123"),
        ("got header Basic YWRhOnMzY3JldA==", "YWRhOnMzY3JldA=="),
        ("password=hunter2 for ada", "hunter2"),
        ('{"password": "hunter 2", "name": "ada"}', "hunter 2"),
        ("{'api_key': 'abc'}", "abc"),
        ("POST /x?access_token=abc&page=2", "abc"),
        ("AccountName=a;AccountKey=Zm9vYmFy==;EndpointSuffix=x", "Zm9vYmFy"),
        ("SharedAccessSignature=sv123", "sv123"),
        ("blob?sv=2022&sig=abc%3D", "abc%3D"),
        ("key AKIAIOSFODNN7EXAMPLE used", "AKIAIOSFODNN7EXAMPLE"),
        ("ghp_0123456789abcdefghij0123456789abcdef", "0123456789abcdefghij"),
        ("github_pat_11AAAAAAA0123456789abcdef", "11AAAAAAA0123456789"),
        ("glpat-0123456789abcdefghij", "0123456789abcdefghij"),
        ("xoxb-123456789012-abcdef", "123456789012"),
        ("https://hooks.slack.com/services/T0/B0/abcdef", "T0/B0/abcdef"),
        ("inb_" + "a1B2" * 12, "a1B2a1B2"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl", "eyJzdWIiOiIxMjM0In0"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----", "MIIE"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE", "MIIE"),
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str, secret: str) -> None:
    assert secret in text
    assert secret not in redact(text)
    assert "[redacted]" in redact(text)
    assert redact(redact(text)) == redact(text)
    assert secret not in logs.JsonFormatter().format(record("%s", text))
    assert secret not in logs.JsonFormatter().format(record("x", detail=text))
    assert secret not in logs.LineFormatter().format(record("x", detail=text))


@pytest.mark.parametrize(
    "text",
    [
        "GET /api/v1/projects/{slug} took 1.2 s",
        "accounts.cleaned: {'sessions': 3, 'refresh_tokens': 2}",
        "http://127.0.0.1:8000/x@2x.png",
        "database: up to date; tokens checked",
        "the secretary came in 3 s",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


def test_values_under_the_name_of_a_secret_are_hidden_at_any_depth() -> None:
    made = as_json(
        record("x", headers={"Cookie": "a=b", "accept": "*/*"}, items=[{"api_key": "k"}], token=7)
    )
    assert made["headers"] == {"Cookie": "[redacted]", "accept": "*/*"}
    assert made["items"] == [{"api_key": "[redacted]"}]
    assert made["token"] == "[redacted]"


@given(st.text(max_size=200))
def test_any_text_can_be_logged(text: str) -> None:
    assert json.loads(logs.JsonFormatter().format(record("%s", text)))
    line = logs.LineFormatter().format(record("%s", text, value=text))
    assert "\n" not in line


@pytest.mark.parametrize(
    "unit", ["a-", 'token="', "://a", "eyJaaaaaaaa.", "a_", "Bearer ", "sig='"]
)
def test_hiding_takes_no_long_time_on_hostile_text(unit: str) -> None:
    began = time.process_time()
    redact((unit * 8000)[:8000])
    assert time.process_time() - began < 2  # catastrophic backtracking would take hours


@pytest.fixture
def restored() -> Iterator[None]:
    root = logging.getLogger()
    kept = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = kept


def test_the_configuration_is_understood_by_logging(
    restored: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    made = logs.config(
        "json", "warning", levels={"insight.loud": "debug"}, stream="ext://sys.stdout"
    )
    logging.config.dictConfig(made)
    logging.getLogger("insight.test").info("not told")
    logging.getLogger("insight.test").warning("told.once: %d", 1)
    logging.getLogger("insight.loud").debug("told.too")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["told.once", "told.too"]


def test_lines_are_for_terminals_and_json_for_everything_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    assert logs.config()["formatters"]["insight"]["()"] is logs.LineFormatter
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert logs.config()["formatters"]["insight"]["()"] is logs.JsonFormatter
    assert logs.config(stream="ext://x.y")["formatters"]["insight"]["()"] is logs.JsonFormatter


def test_a_level_that_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="'LOUD' does not exist; choose one of DEBUG, INFO"):
        logs.config(level="LOUD")
    with pytest.raises(SettingsError, match="'loud' of uvicorn"):
        logs.config(levels={"uvicorn": "loud"})


def test_uvicorn_logs_through_it() -> None:
    program = """
import uvicorn
from insight_cloud.telemetry import logs

async def app(scope, receive, send):
    while (await receive())["type"] == "lifespan.startup":
        await send({"type": "lifespan.startup.complete"})
        server.should_exit = True
    await send({"type": "lifespan.shutdown.complete"})

server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="on", log_config=logs.config("json")))
server.run()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert any(line["logger"] == "uvicorn.error" for line in lines)
