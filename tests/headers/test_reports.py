"""The report sink: takes both formats, keeps little, and cannot be flooded."""

import logging
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.headers import Reports, Violation, reports
from tests.headers.asking import Reply, ask

NEW = b"application/reports+json"
OLD = b"application/csp-report"


def modern(**body: Any) -> dict[str, Any]:
    base = {
        "documentURL": "https://me:pw@app.example/reset?token=secret#top",
        "blockedURL": "https://evil.example/x.js?user=ada",
        "effectiveDirective": "script-src-elem",
        "disposition": "enforce",
        "sample": "secret()",
    }
    return {"type": "csp-violation", "url": "https://app.example/", "body": base | body}


async def post(sink: Reports, document: Any, kind: bytes = NEW, **more: Any) -> Reply:
    body = document if isinstance(document, bytes) else msgspec.json.encode(document)
    return await ask(
        sink, method="POST", headers=[(b"content-type", kind)], **({"body": [body]} | more)
    )


async def test_a_report_is_logged_without_what_may_be_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sink = Reports()
    with caplog.at_level(logging.WARNING, "insight.headers"):
        assert (await post(sink, [modern()])).status == 204
    (record,) = caplog.records
    assert record.getMessage() == (
        "headers.violation: count=1 kind='csp-violation' page='https://app.example/reset' "
        "directive='script-src-elem' blocked='https://evil.example/x.js' disposition='enforce'"
    )


async def test_the_old_format_is_the_same_violation() -> None:
    sink = Reports()
    old = {
        "csp-report": {
            "document-uri": "https://app.example/reset",
            "violated-directive": "script-src-elem 'self'",
            "blocked-uri": "https://evil.example/x.js",
            "disposition": "enforce",
        }
    }
    assert (await post(sink, old, OLD)).status == 204
    assert (await post(sink, [modern()], NEW + b"; charset=utf-8")).status == 204
    assert list(sink.seen.values()) == [2]


async def test_repeated_reports_are_counted_and_logged_at_powers_of_ten(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sink = Reports(per_minute=200)
    with caplog.at_level(logging.WARNING, "insight.headers"):
        for _ in range(150):
            await post(sink, [modern()])
    assert [r.getMessage().split()[1] for r in caplog.records] == [
        "count=1",
        "count=10",
        "count=100",
    ]
    assert sink.totals == {"accepted": 150, "reports": 150}


@pytest.mark.parametrize(
    ("place", "kept"),
    [
        ("inline", "inline"),
        ("data:text/html,<b>secret</b>", "data"),
        ("blob:https://a.example/1", "blob"),
        ("https://[bad", ""),
        (7, ""),
        ("https://a.example/x\r\nforged: line", "https://a.example/xforged: line"),
    ],
)
async def test_only_the_place_of_a_url_is_kept(place: Any, kept: str) -> None:
    sink = Reports()
    await post(sink, [modern(blockedURL=place)])
    assert [violation.blocked for violation in sink.seen] == [kept]


async def test_no_more_kinds_are_remembered_than_allowed() -> None:
    sink = Reports(kinds=3, per_minute=100)
    for number in range(10):
        await post(sink, [modern(effectiveDirective=f"d{number}")])
    assert [violation.directive for violation in sink.seen] == ["d7", "d8", "d9"]


async def test_no_more_reports_of_one_body_are_read_than_allowed() -> None:
    sink = Reports(reports=2)
    await post(sink, [modern(effectiveDirective=f"d{number}") for number in range(5)])
    assert len(sink.seen) == 2


async def test_a_flood_is_answered_unread_until_the_minute_goes_on() -> None:
    now = [0.0]
    sink = Reports(per_minute=2, clock=lambda: now[0])
    statuses = [(await post(sink, [modern()])).status for _ in range(4)]
    assert statuses == [204, 204, 429, 429]
    assert (await post(sink, [modern()], body=[])).value("retry-after") == "60"
    now[0] = 30
    assert [(await post(sink, [modern()])).status for _ in range(2)] == [204, 429]
    assert sink.totals == {"accepted": 3, "limited": 4, "reports": 3}


async def test_what_is_too_large_is_refused_announced_or_not() -> None:
    sink = Reports(body_bytes=100)
    assert (await post(sink, b"", body=[b"[" * 60, b"[" * 60])).status == 413
    announced = [(b"content-type", NEW), (b"content-length", b"101")]
    assert (await ask(sink, method="POST", headers=announced, body=[])).status == 413
    assert (await post(sink, b"", body=[])).status == 413  # went away


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff", 400),
        (b"[" * 10_000, 400),
        (b"null", 400),
        (b"[1, [], {}]", 400),
        (b'{"csp-report": 3}', 400),
        (b'[{"type": "", "body": {}}]', 400),
        (b'[{"type": "crash", "body": {}}]', 204),
    ],
)
async def test_what_is_no_report_is_refused(body: bytes, status: int) -> None:
    assert (await post(Reports(), body)).status == status


async def test_only_posts_of_reports_are_taken() -> None:
    sink = Reports()
    get = await ask(sink)
    assert (get.status, get.value("allow")) == (405, "POST")
    assert (await post(sink, [], b"text/plain")).status == 415
    assert (await ask(sink, method="POST")).status == 415
    assert sink.totals == {"refused": 3}
    with pytest.raises(RuntimeError):
        await sink({"type": "websocket"}, None, None)  # type: ignore[arg-type]  # never used


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["csp-report", "body", "type", "url", "documentURL", "blocked-uri"]),
            inner,
        )
    ),
)


@given(_JSON)
def test_whatever_is_sent_what_is_kept_is_short_and_printable(document: Any) -> None:
    for violation in reports.read(document, limit=5):
        assert isinstance(violation, Violation)
        for field in (violation.kind, violation.page, violation.directive, violation.blocked):
            assert len(field) <= 200
            assert field.isprintable()
