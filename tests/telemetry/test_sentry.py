from __future__ import annotations

import json
import logging
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sentry_sdk.envelope import Envelope

from insight_cloud.core.errors import SettingsError
from insight_cloud.telemetry import request_id
from insight_cloud.telemetry.sentry import SentryHandler
from tests.telemetry.receiver import Receiver, receiving

KEY = "0123456789abcdef0123456789abcdef"


@contextmanager
def sentry(**options: Any) -> Iterator[tuple[Receiver, logging.Logger, SentryHandler]]:
    with receiving() as receiver:
        handler = SentryHandler(f"http://{KEY}@127.0.0.1:{receiver.port}/7", **options)
        logger = logging.Logger("insight.test")  # noqa: LOG001 - of this test alone
        logger.addHandler(handler)
        yield receiver, logger, handler
        handler.close()


def events(receiver: Receiver) -> list[Any]:
    found = []
    for one in receiver.received:
        assert one.path == "/api/7/envelope/"
        assert f"sentry_key={KEY}" in one.headers["x-sentry-auth"]
        envelope = Envelope.deserialize(one.body)
        found += [item.get_event() for item in envelope.items if item.type == "event"]
    return found


def fail(message: str) -> None:
    password = "s3cret-local"
    assert password
    raise OSError(message)


def logged(logger: logging.Logger, message: str = "cannot work") -> Exception:
    try:
        fail("no route to redis://:s3cret@q")
    except OSError as error:
        logger.exception(message)
        return error
    raise AssertionError


def test_an_exception_arrives_with_its_stack_and_without_secrets() -> None:
    with sentry(release="1.2.3", environment="staging") as (receiver, logger, handler):
        token = request_id.set("a1b2c3d4")
        logged(logger, "cannot work with password=s3cret")
        request_id.reset(token)
        handler.flush()
    (event,) = events(receiver)
    (exception,) = event["exception"]["values"]
    assert (exception["type"], exception["value"]) == (
        "OSError",
        "no route to redis://[redacted]@q",
    )
    frames = exception["stacktrace"]["frames"]
    assert frames[-1]["function"] == "fail"
    assert all("vars" not in frame for frame in frames)
    assert event["logentry"]["message"] == "cannot work with password=[redacted]"
    assert (event["release"], event["environment"]) == ("1.2.3", "staging")
    assert (event["level"], event["logger"]) == ("error", "insight.test")
    assert event["tags"] == {"request_id": "a1b2c3d4"}
    told = json.dumps({**event, "exception": {**exception, "stacktrace": None}})
    assert "s3cret" not in told


def test_an_error_without_exception_arrives_and_a_warning_does_not() -> None:
    with sentry() as (receiver, logger, handler):
        logger.warning("slow")
        logger.error("disk %s is full", "/var")
        logger.critical("on fire")
        handler.flush()
    assert [(event["level"], event["logentry"]["message"]) for event in events(receiver)] == [
        ("error", "disk /var is full"),
        ("fatal", "on fire"),
    ]


def test_an_exception_that_is_logged_twice_arrives_once() -> None:
    with sentry() as (receiver, logger, handler):
        error = logged(logger)
        logger.error("again, by the server", exc_info=error)
        logged(logger, "another one")
        handler.flush()
    assert [event["logentry"]["message"] for event in events(receiver)] == [
        "cannot work",
        "another one",
    ]


def test_a_storm_is_cut_off_and_counted() -> None:
    now = 0.0
    with sentry(per_minute=3, clock=lambda: now) as (receiver, logger, handler):
        for number in range(10):
            logger.error("number %d", number)
        now = 60.0
        logger.error("a new minute")
        handler.flush()
        assert handler.dropped == 7
    assert len(events(receiver)) == 4


def test_what_the_sender_itself_logs_is_not_sent() -> None:
    with sentry() as (receiver, _, handler):
        for name in ("sentry_sdk.errors", "urllib3.connectionpool"):
            handler.emit(logging.makeLogRecord({"name": name, "msg": "x", "levelno": 40}))
        handler.flush()
    assert receiver.received == []


@pytest.mark.parametrize("away", ["closed", "hanging"])
def test_a_sentry_that_is_away_holds_nobody_up(away: str) -> None:
    with receiving() as receiver, socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        receiver.hang = True
        port = unused.getsockname()[1] if away == "closed" else receiver.port
        handler = SentryHandler(f"http://{KEY}@127.0.0.1:{port}/7", per_minute=1000)
        logger = logging.Logger("insight.test")  # noqa: LOG001 - of this test alone
        logger.addHandler(handler)
        for _ in range(300):
            logger.error("x")
        handler.close()  # gives up after two seconds


def test_an_exception_that_takes_no_mark_is_sent_all_the_same() -> None:
    class Sealed(Exception):  # noqa: N818
        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(name)

    with sentry() as (receiver, logger, handler):
        logger.error("sealed", exc_info=Sealed())
        handler.flush()
    assert len(events(receiver)) == 1


def test_a_record_that_cannot_be_sent_breaks_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken inside")

    with sentry() as (_, logger, handler):
        monkeypatch.setattr(handler._client, "capture_event", broken)
        logger.error("x")
    assert "broken inside" in capsys.readouterr().err


def test_a_wrong_dsn_is_refused_without_repeating_it() -> None:
    for text in ("https://s3cret@/7", "s3cret"):
        with pytest.raises(SettingsError, match="DSN of Sentry") as caught:
            SentryHandler(text)
        assert "s3cret" not in str(caught.value)


def test_without_the_extra_its_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentry_sdk", None)
    with pytest.raises(SettingsError, match=r"insight-cloud\[sentry\]"):
        SentryHandler(f"http://{KEY}@127.0.0.1/7")
