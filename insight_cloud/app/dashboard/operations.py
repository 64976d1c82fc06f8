"""What the operator's page shows, from what the service notes about itself. Pure.

Figures are of all processes and of the chosen period, unless a table says otherwise: lists of
single events are kept by each process for itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from insight_cloud.app.observation import Work
from insight_cloud.core.report import Report, Status
from insight_cloud.database.pool import Statistics
from insight_cloud.database.recorder import Statement
from insight_cloud.headers.reports import Violation
from insight_cloud.notify.notifier import ChannelStats
from insight_cloud.ratelimit import Policy
from insight_cloud.telemetry import REQUESTS, Alert, LoggedError, Period, SlowRequest, vitals

__all__ = [
    "PERIODS",
    "Cell",
    "Moment",
    "Operator",
    "Table",
    "Tile",
    "background",
    "cache",
    "channels",
    "chosen",
    "errors",
    "firing",
    "health",
    "limits",
    "pool",
    "reports",
    "routes",
    "slow_requests",
    "statements",
    "tiles",
    "web_vitals",
]

Tone = Literal["", "good", "warn", "bad"]

PERIODS: Mapping[str, tuple[str, int]] = {
    "5m": ("5 minutes", 300),
    "1h": ("1 hour", 3600),
    "24h": ("24 hours", 86_400),
    "48h": ("48 hours", 172_800),
}
_TONES: Mapping[Status, Tone] = {"pass": "good", "warn": "warn", "fail": "bad", "skip": ""}
_ROUTES = 12
_STATEMENTS = 12
_EVENTS = 15
# What is wanted of a service in production.
_P95_SECONDS, _ERROR_SHARE, _HIT_RATIO = 2.0, 0.01, 0.7


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time, to be shown as how long ago."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Cell:
    """A text with a tone, shown as a tag."""

    text: str
    tone: Tone


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure at the top of the page, and what it should be."""

    title: str
    value: str
    about: str = ""
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a heading. Columns whose name begins with `#` hold numbers."""

    id: str
    title: str
    about: str
    head: tuple[str, ...]
    rows: tuple[tuple[str | Moment | Cell, ...], ...]
    empty: str = "Nothing yet."


@dataclass(frozen=True, slots=True)
class Operator:
    """The page."""

    period: str
    remembered: str
    tiles: tuple[Tile, ...]
    tables: tuple[Table, ...]


def chosen(text: str) -> str:
    """The period that an address asks for; an hour for anything else."""
    return text if text in PERIODS else "1h"


def tiles(period: Period) -> tuple[Tile, ...]:
    """The figures by which a service is judged."""
    count = period.count(REQUESTS)
    failed = period.count(REQUESTS, status="5xx")
    p95 = period.percentile(REQUESTS, 0.95)
    hits, asked = _hits(period)
    denied = period.total("ratelimit_denied_total")
    lcp = next((row for row in vitals.rows(period, by_route=False)), None)
    return (
        Tile("Requests", f"{period.rate(REQUESTS) * 60:,.1f} / min", f"{count:,.0f} in all"),
        Tile("p95", _seconds(p95), "at most 2 s", _at_most(p95, _P95_SECONDS)),
        Tile(
            "Failed",
            _share(failed, count),
            "below 1 %",
            _at_most(failed / count if count else None, _ERROR_SHARE),
        ),
        Tile(
            "Cache hits",
            _share(hits, asked),
            "above 70 %",
            _at_most(1 - hits / asked if asked else None, 1 - _HIT_RATIO),
        ),
        Tile("Denied by limits", f"{denied:,.0f}"),
        Tile(
            "LCP at p75",
            "-" if lcp is None else _seconds(lcp.p75),
            "at most 2.5 s" if lcp is None else f"{lcp.device}, {lcp.views:,} views",
            "" if lcp is None else _rating(lcp.rating),
        ),
    )


def health(report: Report) -> Table:
    """Every check, with what it found."""
    return Table(
        "health",
        "Health",
        "as /api/health answers",
        ("Check", "Status", "Found", "#Time"),
        tuple(
            (
                check.name,
                Cell(check.status, _TONES[check.status]),
                check.detail,
                _seconds(check.seconds),
            )
            for check in report.checks
        ),
    )


def firing(alerts: Sequence[Alert]) -> Table:
    """What the operator was called for and is not over."""
    return Table(
        "alerts",
        "Alerts",
        "told by the process that leads",
        ("Alert", "Says", "Since"),
        tuple((Cell(one.name, "bad"), one.text, Moment(one.since)) for one in alerts),
        "Nothing to worry about.",
    )


def routes(period: Period) -> Table:
    """The routes that take most of the time."""
    names = {dict(one.labels).get("route", "") for one in period.series if one.name == REQUESTS}
    total = period.total(REQUESTS) or 1.0
    costly = sorted(names, key=lambda route: -period.total(REQUESTS, route=route))[:_ROUTES]
    return Table(
        "routes",
        "Routes",
        "by their share of the time",
        ("Route", "#Requests", "#p50", "#p95", "#p99", "#Failed", "#Share"),
        tuple(
            (
                route,
                f"{period.count(REQUESTS, route=route):,.0f}",
                *(
                    _seconds(period.percentile(REQUESTS, share, route=route))
                    for share in (0.5, 0.95, 0.99)
                ),
                f"{period.count(REQUESTS, route=route, status='5xx'):,.0f}",
                f"{period.total(REQUESTS, route=route) / total:.0%}",
            )
            for route in costly
        ),
        "No request in this period.",
    )


def slow_requests(requests: Sequence[SlowRequest]) -> Table:
    """The last requests that took long."""
    return Table(
        "slow-requests",
        "Slow requests",
        "the last ones",
        ("Route", "When", "Request id", "#Status", "#Took"),
        tuple(
            (
                f"{one.method} {one.route}",
                Moment(one.at),
                one.request_id,
                str(one.status),
                _seconds(one.seconds),
            )
            for one in requests[:_EVENTS]
        ),
        "None was slow.",
    )


def web_vitals(period: Period) -> Table:
    """How the pages felt in browsers: over all of them, then the core vitals page by page."""
    core = [row for row in vitals.rows(period) if row.metric in vitals.METRICS[:3]]
    found = [*vitals.rows(period, by_route=False), *core]
    return Table(
        "vitals",
        "Web Vitals",
        "measured in browsers, at the 75th percentile",
        ("Page", "Vital", "Device", "Rating", "#p75", "#Views"),
        tuple(
            (
                row.route or "all pages",
                row.metric.title,
                row.device,
                Cell(row.rating, _rating(row.rating)),
                _seconds(row.p75) if row.metric.unit else f"{row.p75:.3f}",
                f"{row.views:,}",
            )
            for row in found
        ),
        "No page was left in this period: a browser reports when its visitor goes on.",
    )


def pool(now: Statistics, period: Period) -> Table:
    """The connections to the database."""
    waited = period.total("database_pool_wait_seconds_total")
    return Table(
        "pool",
        "Database pool",
        "of this process; waits are those of the period",
        ("#Connections", "#Busy", "#Most", "#Waiting now", "#Had to wait", "#Waited", "#Lost"),
        (
            (
                str(now.size),
                str(now.size - now.idle),
                str(now.max_size),
                str(now.waiting),
                f"{period.count('database_pool_requests_queued_total'):,.0f}",
                _seconds(waited),
                str(now.connections_lost),
            ),
        ),
    )


def statements(found: Sequence[Statement]) -> Table:
    """The statements that cost the database most."""
    total = sum(one.total_seconds for one in found) or 1.0
    return Table(
        "statements",
        "Statements",
        "by their share of the time; of this process, since it started",
        ("Statement", "#Calls", "#Mean", "#Slowest", "#Errors", "#Share"),
        tuple(
            (
                one.name,
                f"{one.calls:,}",
                _seconds(one.mean_seconds),
                _seconds(one.max_seconds),
                f"{one.errors:,}",
                f"{one.total_seconds / total:.0%}",
            )
            for one in found[:_STATEMENTS]
        ),
    )


def cache(period: Period, *, circuit_open: bool) -> Table:
    """What the cache answered."""
    hits, asked = _hits(period)
    state = Cell("passed over", "bad") if circuit_open else Cell("in use", "good")
    return Table(
        "cache",
        "Cache",
        "of the period; the state is this process'",
        ("State", "#Hits", "#In the process", "#Misses", "#Computed", "#Stale", "#No answer"),
        (
            (
                state,
                _share(hits, asked),
                f"{period.count('cache_hits_total', level='process'):,.0f}",
                f"{asked - hits:,.0f}",
                f"{period.count('cache_computations_total'):,.0f}",
                f"{period.count('cache_stale_total'):,.0f}",
                f"{period.count('cache_failures_total'):,.0f}",
            ),
        ),
    )


def limits(policies: Iterable[Policy], period: Period) -> Table:
    """The rate limits, and how often they were reached."""
    return Table(
        "limits",
        "Rate limits",
        "denials of the period",
        ("Limit", "#Admits", "#In", "While Redis is away", "#Denied"),
        tuple(
            (
                policy.name,
                f"{policy.limit:,}",
                _span(policy.seconds),
                policy.on_failure,
                f"{period.count('ratelimit_denied_total', policy=policy.name):,.0f}",
            )
            for policy in policies
        ),
    )


def errors(found: Sequence[LoggedError]) -> Table:
    """The last errors of the log."""
    return Table(
        "errors",
        "Errors",
        "the last in the log of this process",
        ("What", "When", "Where", "Request id"),
        tuple((one.text, Moment(one.at), one.logger, one.request_id) for one in found[:_EVENTS]),
        "None.",
    )


def background(works: Iterable[Work]) -> Table:
    """Jobs beside the requests."""
    return Table(
        "jobs",
        "Jobs",
        "the last run of each, in this process",
        ("Job", "Status", "Result", "When"),
        tuple(
            (
                one.name,
                Cell("failed", "bad") if one.failed else Cell("done", "good"),
                one.result,
                Moment(one.at),
            )
            for one in works
        ),
    )


def channels(found: Sequence[ChannelStats]) -> Table:
    """The ways to the operator."""
    return Table(
        "channels",
        "Notifications",
        "of this process, since it started",
        ("Channel", "From", "#Sent", "#Failed", "#Held back", "Last failure"),
        tuple(
            (
                one.name,
                one.minimum,
                f"{one.sent:,}",
                f"{one.failed:,}",
                f"{one.held:,}",
                one.last_failure,
            )
            for one in found
        ),
        "No channel is set: alerts are in the log only. See section [notify] of the settings.",
    )


def reports(seen: Mapping[Violation, int]) -> Table:
    """What browsers reported of pages that did what their policy forbids."""
    ordered = sorted(seen.items(), key=lambda item: -item[1])[:_EVENTS]
    return Table(
        "reports",
        "Browser reports",
        "violations of the security policy; of this process, since it started",
        ("Kind", "Page", "Directive", "Blocked", "#Times"),
        tuple(
            (one.kind, one.page, one.directive, one.blocked, f"{count:,}") for one, count in ordered
        ),
        "None.",
    )


def _hits(period: Period) -> tuple[float, float]:
    hits = period.count("cache_hits_total")
    return hits, hits + period.count("cache_misses_total")


def _at_most(value: float | None, limit: float) -> Tone:
    if value is None:
        return ""
    return "good" if value <= limit else "bad"


def _rating(rating: vitals.Rating) -> Tone:
    tones: Mapping[vitals.Rating, Tone] = {
        "good": "good",
        "needs improvement": "warn",
        "poor": "bad",
    }
    return tones[rating]


def _span(seconds: float) -> str:
    for unit, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:g} s"


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"
