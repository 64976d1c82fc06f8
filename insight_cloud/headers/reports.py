"""What browsers report: an endpoint that takes little, keeps less, and logs the first of a kind."""

from __future__ import annotations

import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec

from insight_cloud.core.asgi import Receive, Scope, Send, header, send_problem

__all__ = ["Reports", "Violation", "read"]

log = logging.getLogger("insight.headers")

_WORD_CHARACTERS = 60
_PLACE_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Violation:
    """One kind of report, with what may be kept: no query, no fragment, no sample, no address."""

    kind: str
    page: str
    directive: str = ""
    blocked: str = ""
    disposition: str = ""


class Reports:
    """An ASGI endpoint for `application/reports+json` and `application/csp-report`.

    Anybody can send anything to it, so each request is bounded in bytes, all together in
    number, and what is remembered in kinds. A kind is logged as `headers.violation` when it
    is seen the first, 10th, 100th... time; `totals` counts all by outcome.

    Args:
        body_bytes: largest body; more is answered 413.
        reports: how many of the reports in one body are read.
        per_minute: requests that are read in a minute; more are answered 429 unread.
        kinds: how many kinds are remembered; the one not seen for the longest is forgotten.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        body_bytes: int = 16 * 1024,
        reports: int = 20,
        per_minute: int = 120,
        kinds: int = 500,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._body_bytes = body_bytes
        self._reports = reports
        self._per_minute = per_minute
        self._kinds = kinds
        self._clock = clock
        self._allowance = float(per_minute)
        self._filled_at = clock()
        self._seen: OrderedDict[Violation, int] = OrderedDict()
        self._totals: Counter[str] = Counter()

    @property
    def totals(self) -> Mapping[str, int]:
        """Counts since the start: `reports`, and requests `accepted`, `refused`, `limited`."""
        return dict(self._totals)

    @property
    def seen(self) -> Mapping[Violation, int]:
        """How often each remembered kind was reported."""
        return dict(self._seen)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one request."""
        if scope["type"] != "http":
            raise RuntimeError("reports come over HTTP")
        status, reason = await self._take(scope, receive)
        outcome = {204: "accepted", 429: "limited"}.get(status, "refused")
        self._totals[outcome] += 1
        if status == 204:
            start = {"type": "http.response.start", "status": 204, "headers": []}
            await send(start)
            await send({"type": "http.response.body", "body": b""})
            return
        body = {"type": "about:blank", "title": reason, "status": status}
        extra = {405: [(b"allow", b"POST")], 429: [(b"retry-after", b"60")]}.get(status, [])
        await send_problem(send, status, msgspec.json.encode(body), extra)

    async def _take(self, scope: Scope, receive: Receive) -> tuple[int, str]:
        if scope["method"] != "POST":
            return 405, "Reports are posted"
        kind = (header(scope, b"content-type") or "").partition(";")[0].strip().lower()
        if kind not in {"application/reports+json", "application/csp-report"}:
            return 415, "No report"
        if not self._admit():
            return 429, "Too many reports"
        body = await self._body(scope, receive)
        if body is None:
            return 413, "Report too large"
        try:
            found = list(read(msgspec.json.decode(body), limit=self._reports))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # the last: deep nesting
            return 400, "No JSON"
        for violation in found:
            self._count(violation)
        return (204, "") if found else (400, "No report")

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """The body, or None when it is larger than allowed or the sender went away."""
        announced = header(scope, b"content-length") or ""
        if announced.isdecimal() and int(announced[:20]) > self._body_bytes:
            return None
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")
            if len(body) > self._body_bytes:
                return None
            if not message.get("more_body", False):
                return bytes(body)

    def _admit(self) -> bool:
        """Take one from an allowance that fills up evenly within a minute."""
        now = self._clock()
        filled = (now - self._filled_at) * self._per_minute / 60
        self._allowance = min(float(self._per_minute), self._allowance + filled)
        self._filled_at = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True

    def _count(self, violation: Violation) -> None:
        self._totals["reports"] += 1
        count = self._seen.pop(violation, 0) + 1
        self._seen[violation] = count  # at the end: the one seen last
        if len(self._seen) > self._kinds:
            self._seen.popitem(last=False)
        if _is_power_of_ten(count):
            fields = " ".join(f"{name}={text!r}" for name, text in asdict(violation).items())
            log.warning("headers.violation: count=%d %s", count, fields)


def read(document: Any, *, limit: int) -> Iterator[Violation]:
    """The violations in a decoded body of either format, at most `limit`; others are skipped."""
    items = document if isinstance(document, list) else [document]
    for item in items[:limit]:
        if not isinstance(item, dict):
            continue
        if isinstance(old := item.get("csp-report"), dict):
            directive = old.get("effective-directive") or old.get("violated-directive")
            yield Violation(
                kind="csp-violation",
                page=_place(old.get("document-uri")),
                directive=_word(directive).partition(" ")[0],
                blocked=_place(old.get("blocked-uri")),
                disposition=_word(old.get("disposition")),
            )
        elif isinstance(body := item.get("body"), dict) and _word(item.get("type")):
            yield Violation(
                kind=_word(item.get("type")),
                page=_place(body.get("documentURL") or item.get("url")),
                directive=_word(body.get("effectiveDirective") or body.get("id")),
                blocked=_place(body.get("blockedURL")),
                disposition=_word(body.get("disposition")),
            )


def _word(value: Any) -> str:
    return _clean(value, _WORD_CHARACTERS)


def _place(value: Any) -> str:
    """A URL without what may be secret or unique: user, query and fragment; or a keyword."""
    text = _clean(value, 8 * _PLACE_CHARACTERS)
    try:
        parts = urlsplit(text)
    except ValueError:
        return ""
    if not parts.netloc:
        # `inline`, `eval`, or the scheme of `data:...` and `blob:...`, never their content
        return (parts.scheme or parts.path.partition("?")[0])[:_WORD_CHARACTERS]
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"[:_PLACE_CHARACTERS]


def _clean(value: Any, characters: int) -> str:
    """Printable characters only: a line break would forge a line of the log."""
    if not isinstance(value, str):
        return ""
    return "".join(c for c in value[:characters] if c.isprintable())


def _is_power_of_ten(count: int) -> bool:
    return str(count).strip("0") == "1"
