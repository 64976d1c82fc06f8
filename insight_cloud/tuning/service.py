"""How fast a service answers and its pages show, from its own metrics. Parsing is pure.

Any service that exposes `http_request_duration_seconds` with a label `status` in Prometheus' text
format can be read; page speed is looked for in `web_vital_*`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from insight_cloud.core.errors import Corrupt, Refused, Unavailable
from insight_cloud.tuning.finding import Finding

__all__ = ["KINDS", "Histogram", "ServiceLimits", "judge", "metrics", "parse", "read", "unseen"]

KINDS = ("response_p95", "response_p99", "errors", "lcp", "inp", "cls", "fid")
_REQUESTS = "http_request_duration_seconds"
_LINE = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)_bucket\{(?P<labels>.*)\} (?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_MOST_BYTES = 32 * 1024 * 1024
_ENOUGH = 100


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """As in `PerformanceSettings`: seconds, percent and a score."""

    p95_seconds: float = 2
    p99_seconds: float = 5
    error_percent: float = 1
    lcp_seconds: float = 2.5
    inp_seconds: float = 0.2
    fid_seconds: float = 0.1
    cls_score: float = 0.1


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts up to each bound, added up, as Prometheus has them."""

    below: tuple[tuple[float, float], ...]

    @property
    def count(self) -> float:
        """All that was counted."""
        return self.below[-1][1] if self.below else 0

    def percentile(self, share: float) -> float | None:
        """The value that `share` of all stay below, between two bounds by a straight line."""
        if not self.count:
            return None
        wanted, low, before = share * self.count, 0.0, 0.0
        for bound, count in self.below:
            if count >= wanted:
                if bound == float("inf"):
                    return low
                part = (wanted - before) / max(count - before, 1e-9)
                return low + (bound - low) * part
            low, before = bound, count
        return low


def parse(text: str) -> dict[tuple[str, str], Histogram]:
    """Read the histograms, by name and class of status (`5` for 500 to 599, empty without one).

    Raises:
        Corrupt: it is not Prometheus' text format.
    """
    counts: dict[tuple[str, str], dict[float, float]] = defaultdict(lambda: defaultdict(float))
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        labels = dict(_LABEL.findall(found["labels"]))
        try:
            bound, value = float(labels["le"]), float(found["value"])
        except (KeyError, ValueError) as error:
            raise Corrupt(f"these are no metrics: {line[:80]!r}") from error
        counts[found["name"], labels.get("status", "")[:1]][bound] += value
    return {key: Histogram(tuple(sorted(below.items()))) for key, below in counts.items()}


def judge(found: Mapping[tuple[str, str], Histogram], limits: ServiceLimits) -> list[Finding]:
    """Hold the service against its thresholds."""
    numbers = metrics(found)
    limit_of = {
        "response_p95": limits.p95_seconds,
        "response_p99": limits.p99_seconds,
        "errors": limits.error_percent,
        "lcp": limits.lcp_seconds,
        "inp": limits.inp_seconds,
        "fid": limits.fid_seconds,
        "cls": limits.cls_score,
    }
    findings = []
    for kind, limit in limit_of.items():
        value = numbers[kind]
        if value is not None and value > limit:
            unit = {"errors": " %", "cls": ""}.get(kind, " s")
            findings.append(
                Finding(
                    kind,
                    "the service"
                    if kind in {"response_p95", "response_p99", "errors"}
                    else "pages",
                    f"{value:.3g}{unit}, and {limit:g}{unit} is allowed",
                    "warn" if kind == "fid" else "fail",
                    evidence={"value": value, "limit": limit},
                    remedy=_REMEDIES.get(kind, "see which routes are slow in /metrics"),
                )
            )
    return findings


_REMEDIES = {
    "errors": "look for http.error in the log",
    "lcp": "insight tune images; preload the largest image; answer faster",
    "inp": "less script on the page; split what takes long",
    "cls": "give images and fonts their size before they are there",
    "fid": "less script on the page",
}


def metrics(found: Mapping[tuple[str, str], Histogram]) -> dict[str, float | None]:
    """The numbers that are judged and compared from run to run; None where too few were counted."""
    requests = _together(found, _REQUESTS)
    failed = found.get((_REQUESTS, "5"))
    enough = requests.count >= _ENOUGH
    share = 100 * (failed.count if failed else 0) / requests.count if enough else None
    return {
        "requests": requests.count,
        "response_p95": requests.percentile(0.95) if enough else None,
        "response_p99": requests.percentile(0.99) if enough else None,
        "errors": share,
        "lcp": _vital(found, "web_vital_lcp_seconds"),
        "inp": _vital(found, "web_vital_inp_seconds"),
        "cls": _vital(found, "web_vital_cls"),
        "fid": _vital(found, "web_vital_fid_seconds"),
    }


def unseen(found: Mapping[tuple[str, str], Histogram]) -> dict[str, str]:
    """What could not be judged, and why."""
    reason = "fewer than a hundred were counted"
    return {kind: reason for kind, value in metrics(found).items() if value is None}


def _vital(found: Mapping[tuple[str, str], Histogram], name: str) -> float | None:
    histogram = _together(found, name)
    return histogram.percentile(0.75) if histogram.count >= _ENOUGH else None


def _together(found: Mapping[tuple[str, str], Histogram], name: str) -> Histogram:
    below: dict[float, float] = defaultdict(float)
    for (series, _), histogram in found.items():
        if series == name:
            for bound, count in histogram.below:
                below[bound] += count
    return Histogram(tuple(sorted(below.items())))


async def read(url: str, *, token: str = "") -> dict[tuple[str, str], Histogram]:
    """Fetch the metrics at `url`, with `token` as bearer.

    Raises:
        Unavailable: nobody answers.
        Refused: we may not read them.
    """
    import httpx

    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
            answer = await client.get(url, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unavailable(f"{url} does not answer: {type(error).__name__} {error}") from error
    if answer.status_code in {401, 403, 404}:
        raise Refused(f"{url} answers {answer.status_code}: set telemetry.metrics_token")
    if answer.status_code != 200 or len(answer.content) > _MOST_BYTES:
        raise Unavailable(f"{url} answers {answer.status_code} with {len(answer.content):,} bytes")
    return parse(answer.text)
