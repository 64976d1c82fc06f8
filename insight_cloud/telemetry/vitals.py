"""How the pages feel to those who open them: measured in their browsers, told at p75.

`vitals.js` measures one page view and posts it here. Anybody can post anything, so a beacon is
bounded in size, in number and in what it may say: known pages, two kinds of devices, plausible
values. What is kept are histograms in the recorder, nothing of a person.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import parse_qs, urlsplit

import msgspec

from insight_cloud.core.asgi import Receive, Scope, Send, header, send_problem
from insight_cloud.telemetry.history import Period
from insight_cloud.telemetry.middleware import ROUTE
from insight_cloud.telemetry.recorder import Recorder
from insight_cloud.telemetry.series import Series, percentile, sum_of

__all__ = ["METRICS", "SCRIPT", "Metric", "Rating", "Row", "Vitals", "rows"]

Rating: TypeAlias = Literal["good", "needs improvement", "poor"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A vital: good up to `good` at the 75th percentile, poor above `poor`; in seconds or none."""

    name: str
    title: str
    good: float
    poor: float
    unit: Literal["s", ""] = "s"

    @property
    def series(self) -> str:
        """The name of its histogram."""
        return f"web_vital_{self.name}{'_seconds' if self.unit else ''}"

    @property
    def bounds(self) -> tuple[float, ...]:
        """Bounds that are narrow about the thresholds, which are among them: a rating is exact."""
        between = self.poor - self.good
        return (
            *(round(self.good * part, 6) for part in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)),
            *(round(self.good + between * part, 6) for part in (0.25, 0.5, 0.75, 1)),
            *(round(self.poor * part, 6) for part in (1.25, 1.5, 2, 3, 5, 10)),
        )

    def rating(self, p75: float) -> Rating:
        """What `p75` is called."""
        if p75 <= self.good:
            return "good"
        return "needs improvement" if p75 <= self.poor else "poor"


METRICS = (
    Metric("lcp", "Largest Contentful Paint", 2.5, 4.0),
    Metric("inp", "Interaction to Next Paint", 0.2, 0.5),
    Metric("cls", "Cumulative Layout Shift", 0.1, 0.25, ""),
    Metric("fcp", "First Contentful Paint", 1.8, 3.0),
    Metric("ttfb", "Time to First Byte", 0.8, 1.8),
    Metric("fid", "First Input Delay (historic)", 0.1, 0.3),
    Metric("img", "Slowest image of a page", 1.0, 2.5),
)
"""The Core Web Vitals first. FID is what INP replaced in 2024, kept for comparison.

The images have no thresholds of Google's: 2.5 s for one alone would spend all that LCP may take.
"""

_MOST_MILLISECONDS = 600_000.0
_MOST_SHIFT = 100.0


def _script() -> bytes:
    lines = Path(__file__).with_name("vitals.js").read_text(encoding="utf-8").splitlines()
    stripped = (line.strip() for line in lines)
    return "\n".join(line for line in stripped if not line.startswith("//")).encode()


SCRIPT = _script()
"""What the page loads, without its comments."""
VERSION = hashlib.sha256(SCRIPT).hexdigest()[:12]
_INTEGRITY = f"sha384-{base64.b64encode(hashlib.sha384(SCRIPT).digest()).decode()}"
_PACKED = gzip.compress(SCRIPT, 9, mtime=0)


class _Beacon(msgspec.Struct, forbid_unknown_fields=True):
    """One page view; times in milliseconds, as the browser has them."""

    route: str
    device: Literal["phone", "desktop"]
    lcp: float | None = None
    inp: float | None = None
    cls: float | None = None
    fcp: float | None = None
    ttfb: float | None = None
    fid: float | None = None
    img: float | None = None


class Vitals:
    """An ASGI endpoint: GET gives the script, POST takes what it measured.

    Mount it at any path of the same origin, and put `tag(...)` into the pages. Counted in
    `web_vital_*` by route and device; beacons in `web_beacon_total` by outcome.

    Args:
        recorder: keeps the histograms.
        routes: the route templates that are told apart; others are refused. Looked up with each
            beacon, so it may be filled later.
        share: of page views, from 0 to 1, that are measured; the page chooses by chance.
        body_bytes: largest beacon.
        per_minute: how many are taken in a minute, so that nobody floods the numbers.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        recorder: Recorder,
        *,
        routes: Collection[str],
        share: float = 1.0,
        body_bytes: int = 1024,
        per_minute: int = 1200,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._routes = routes
        self._share = share
        self._body_bytes = body_bytes
        self._per_minute = per_minute
        self._clock = clock
        self._minute, self._taken = 0, 0
        self._beacons = recorder.counter("web_beacon_total", "Page views told.", ("outcome",))
        self._histograms = tuple(
            (
                metric,
                recorder.histogram(
                    metric.series, f"{metric.title}.", ("route", "device"), bounds=metric.bounds
                ),
            )
            for metric in METRICS
        )

    def tag(self, route: str, *, path: str = "/vitals", nonce: str = "") -> str:
        """The script element for a page of `route`; `path` is where this is mounted.

        `nonce` is that of the page's Content-Security-Policy, where it has one; apart from it
        the policy must allow `connect-src 'self'`.
        """
        attributes = {
            "src": f"{path}?v={VERSION}",
            "integrity": _INTEGRITY,
            "data-to": path,
            "data-route": route,
            "data-share": f"{self._share:g}",
            **({"nonce": nonce} if nonce else {}),
        }
        written = " ".join(f'{name}="{html.escape(text)}"' for name, text in attributes.items())
        return f"<script {written} defer></script>"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError("vitals come over HTTP")
        scope[ROUTE] = "/vitals"
        if scope["method"] in {"GET", "HEAD"}:
            await _give(scope, send)
            return
        status, reason = await self._take(scope, receive)
        outcome = {204: "taken", 429: "limited"}.get(status, "refused")
        self._beacons.add((outcome,))
        if status == 204:
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        extra = {405: [(b"allow", b"GET, HEAD, POST")], 429: [(b"retry-after", b"60")]}
        body = {"type": "about:blank", "title": reason, "status": status}
        await send_problem(send, status, msgspec.json.encode(body), extra.get(status, []))

    async def _take(self, scope: Scope, receive: Receive) -> tuple[int, str]:
        if scope["method"] != "POST":
            return 405, "Vitals are posted"
        if not _same_origin(scope):
            return 403, "Vitals come from our own pages"
        if not self._admit():
            return 429, "Too many page views"
        body = await self._body(receive)
        return (413, "Page view too large") if body is None else self._count(body)

    def _count(self, body: bytes) -> tuple[int, str]:
        try:
            beacon = msgspec.json.decode(body, type=_Beacon)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return 400, "No page view"
        if beacon.route not in self._routes:
            return 400, "Unknown route"
        return (204, "") if self._record(beacon) else (400, "Implausible values")

    def _record(self, beacon: _Beacon) -> bool:
        """Count every value, or none where one is impossible."""
        observed = []
        for metric, histogram in self._histograms:
            value = getattr(beacon, metric.name)
            if value is None:
                continue
            if not 0 <= value <= (_MOST_MILLISECONDS if metric.unit else _MOST_SHIFT):
                return False
            observed.append((histogram, value / 1000 if metric.unit else value))
        for histogram, value in observed:
            histogram.observe(value, (beacon.route, beacon.device))
        return bool(observed)

    def _admit(self) -> bool:
        minute = int(self._clock() // 60)
        if minute != self._minute:
            self._minute, self._taken = minute, 0
        self._taken += 1
        return self._taken <= self._per_minute

    async def _body(self, receive: Receive) -> bytes | None:
        """The body, or None when it is larger than allowed or the sender went away."""
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


@dataclass(frozen=True, slots=True)
class Row:
    """One vital at p75 over a period; `route` is empty where all pages are one."""

    metric: Metric
    route: str
    device: str
    p75: float
    rating: Rating
    views: int


def rows(period: Period, *, by_route: bool = True) -> list[Row]:
    """The vitals of `period` by route and device, or by device alone; the order is METRICS'."""
    found = []
    for metric in METRICS:
        groups: dict[tuple[str, str], list[Series]] = {}
        for series in period.series:
            if series.name == metric.series:
                labels = dict(series.labels)
                key = (labels["route"] if by_route else "", labels["device"])
                groups.setdefault(key, []).append(series)
        found += _rows(metric, groups.items())
    return found


def _rows(metric: Metric, groups: Iterable[tuple[tuple[str, str], list[Series]]]) -> list[Row]:
    made = []
    for (route, device), members in sorted(groups, key=lambda group: group[0]):
        total = sum_of(members)
        p75 = None if total is None else percentile(total, 0.75)
        if total is not None and p75 is not None:
            # The last bound stands for all beyond it.
            made.append(Row(metric, route, device, p75, metric.rating(p75), round(total.count)))
    return made


def _same_origin(scope: Scope) -> bool:
    """Whether one of our own pages sent this: the browser says so, in the newer way or the older.

    Both headers are set by the browser alone. Where neither is, it was none.
    """
    if (site := header(scope, b"sec-fetch-site")) is not None:
        return site == "same-origin"
    origin = urlsplit(header(scope, b"origin") or "")
    return origin.netloc != "" and origin.netloc == header(scope, b"host")


async def _give(scope: Scope, send: Send) -> None:
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    # An address with the right version never changes its content; any other may.
    fixed = query.get("v") == [VERSION]
    packed = "gzip" in (header(scope, b"accept-encoding") or "")
    body = _PACKED if packed else SCRIPT
    headers = [
        (b"content-type", b"text/javascript; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"public, max-age=31536000, immutable" if fixed else b"no-cache"),
        (b"vary", b"accept-encoding"),
        *([(b"content-encoding", b"gzip")] if packed else []),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    shown = body if scope["method"] == "GET" else b""
    await send({"type": "http.response.body", "body": shown})
