"""Metrics of any service as numbers: Prometheus text read, two readings compared. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = ["Line", "Names", "difference", "numbers", "parse"]

Labels: TypeAlias = tuple[tuple[str, str], ...]
Line: TypeAlias = tuple[str, Labels]
"""The name of a sample and its labels."""

_LINE = re.compile(
    r"(?P<name>[A-Za-z_:][\w:]*)(?:\{(?P<labels>.*)\})?[ \t]+(?P<value>\S+)(?:[ \t]+-?\d+)?"
)
_LABEL = re.compile(r'([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"')
_GAUGES = re.compile(r"(_bytes|_connections|_max|_in_flight|_waiting|_time_seconds|_fds|^up)$")
_CUMULATIVE = ("_total", "_count", "_sum", "_bucket")
_FAILED = re.compile(r"5(?:xx|\d\d)")
_MOST_LINES = 200_000


@dataclass(frozen=True, slots=True)
class Names:
    """What the metrics of a service are called; the first of each that is there is taken."""

    requests: tuple[str, ...] = (
        "http_request_duration_seconds",
        "http_server_request_duration_seconds",
        "http_request_duration_highr_seconds",
        "starlette_request_duration_seconds",
    )
    status: tuple[str, ...] = ("status", "status_code", "code", "http_response_status_code")
    route: tuple[str, ...] = ("route", "handler", "path_template", "http_route", "path")
    hits: tuple[str, ...] = ("cache_hits_total",)
    misses: tuple[str, ...] = ("cache_misses_total",)
    query_seconds: tuple[str, ...] = ("database_statement_seconds_total",)
    queries: tuple[str, ...] = ("database_statements_total",)
    refused: tuple[str, ...] = ("ratelimit_denied_total",)


def parse(text: str) -> dict[Line, float]:
    """The samples of an exposition; lines that are none are passed over."""
    found: dict[Line, float] = {}
    for line in text.splitlines()[:_MOST_LINES]:
        match = None if line.startswith("#") else _LINE.fullmatch(line.strip())
        if match is None:
            continue
        try:
            value = float(match["value"])
        except ValueError:
            continue
        labels = tuple(sorted(_LABEL.findall(match["labels"] or "")))
        found[match["name"], labels] = value
    return found


def difference(later: Mapping[Line, float], earlier: Mapping[Line, float]) -> dict[Line, float]:
    """What was counted between two readings; gauges stay as they are later.

    A count that became smaller began anew, so all of it is new.
    """
    found = {}
    for line, value in later.items():
        if not line[0].endswith(_CUMULATIVE) or _GAUGES.search(line[0]):
            found[line] = value
            continue
        before = earlier.get(line, 0.0)
        found[line] = value - before if value >= before else value
    return found


def numbers(found: Mapping[Line, float], names: Names | None = None) -> dict[str, Any]:
    """The numbers that targets are about; one that nothing is known for is None."""
    names = names or Names()
    family = _first(found, names.requests, suffix="_count")
    requests = _sum(found, f"{family}_count") if family else None
    failed = _sum(found, f"{family}_count", _is_failure(names.status)) if family else 0.0
    hits, misses = _total(found, names.hits), _total(found, names.misses)
    spent, queries = _total(found, names.query_seconds), _total(found, names.queries)
    refused = _total(found, names.refused)
    buckets = _buckets(found, family) if family else []
    return {
        "requests": requests,
        "error_share": _share(failed, requests),
        "p95_seconds": _quantile(buckets, 0.95),
        "p99_seconds": _quantile(buckets, 0.99),
        "refused_share": _share(refused, requests),
        "cache_hit_share": None if hits is None else _share(hits, hits + (misses or 0)),
        "query_mean_seconds": _share(spent, queries),
        "lcp_p75_seconds": _quantile(_buckets(found, "web_vital_lcp_seconds"), 0.75),
        "inp_p75_seconds": _quantile(_buckets(found, "web_vital_inp_seconds"), 0.75),
        "cls_p75": _quantile(_buckets(found, "web_vital_cls"), 0.75),
        "memory_bytes": _total(found, ("process_resident_memory_bytes",)),
        "started": _least(found, "process_start_time_seconds"),
        "pool_idle": _sum_or_none(found, "database_pool_connections", {"state": "idle"}),
        "pool_most": _total(found, ("database_pool_connections_max",)),
        "pool_busy": _sum_or_none(found, "database_pool_connections", {"state": "busy"}),
        "families": sorted({name for name, _ in found})[:2000],
        "series": len(found),
        "has_duration": bool(buckets),
        "has_routes": _has_label(found, f"{family}_count", names.route) if family else False,
        "routes": _routes(found, f"{family}_count", names.route) if family else {},
    }


def _first(found: Mapping[Line, float], names: Iterable[str], *, suffix: str = "") -> str | None:
    there = {name for name, _ in found}
    return next((name for name in names if f"{name}{suffix}" in there), None)


def _sum(
    found: Mapping[Line, float], name: str, chosen: Callable[[Labels], bool] = lambda _: True
) -> float:
    return sum(
        value for (other, labels), value in found.items() if other == name and chosen(labels)
    )


def _total(found: Mapping[Line, float], names: Iterable[str]) -> float | None:
    name = _first(found, names)
    return None if name is None else _sum(found, name)


def _sum_or_none(found: Mapping[Line, float], name: str, wanted: Mapping[str, str]) -> float | None:
    values = [
        v
        for (other, labels), v in found.items()
        if other == name and wanted.items() <= dict(labels).items()
    ]
    return sum(values) if values else None


def _least(found: Mapping[Line, float], name: str) -> float | None:
    return min((value for (other, _), value in found.items() if other == name), default=None)


def _is_failure(names: Iterable[str]) -> Callable[[Labels], bool]:
    wanted = set(names)
    return lambda labels: any(
        name in wanted and _FAILED.fullmatch(value) is not None for name, value in labels
    )


def _share(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def _has_label(found: Mapping[Line, float], name: str, wanted: Iterable[str]) -> bool:
    labels = {label for (other, pairs) in found if other == name for label, _ in pairs}
    return bool(labels & set(wanted))


def _routes(found: Mapping[Line, float], name: str, wanted: Iterable[str]) -> dict[str, float]:
    label = next((one for one in wanted if _has_label(found, name, [one])), None)
    routes: dict[str, float] = {}
    for (other, pairs), value in found.items():
        if other == name and label is not None and value:
            route = dict(pairs).get(label, "")
            routes[route] = routes.get(route, 0.0) + value
    return routes


def _buckets(found: Mapping[Line, float], family: str) -> list[tuple[float, float]]:
    """Upper bounds and how many lie at or below them, over all labels."""
    sums: dict[float, float] = {}
    for (name, labels), value in found.items():
        if name == f"{family}_bucket":
            bound = float(dict(labels).get("le", "inf").replace("+Inf", "inf"))
            sums[bound] = sums.get(bound, 0.0) + value
    return sorted(sums.items())


def _quantile(buckets: list[tuple[float, float]], share: float) -> float | None:
    """Where `share` of the observations lie below, interpolated within a bucket."""
    total = buckets[-1][1] if buckets else 0.0
    if total <= 0:
        return None
    rank, lower, below = share * total, 0.0, 0.0
    for bound, count in buckets:
        if count >= rank and count > below:
            if math.isinf(bound):
                return lower  # beyond the last bound nothing is known but that
            return lower + (bound - lower) * (rank - below) / (count - below)
        lower, below = bound, count
    return lower
