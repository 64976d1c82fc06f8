"""Series as text: the Prometheus exposition format 0.0.4, or OpenMetrics 1.0 for who asks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import groupby

from insight_cloud.telemetry.series import Labels, Series

__all__ = ["OPENMETRICS", "TEXT", "content_type", "render"]

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def content_type(accept: str) -> str:
    """Choose the format for an `Accept` header: OpenMetrics only where it is named and wanted."""
    for part in accept.lower().split(","):
        kind, *parameters = (word.strip() for word in part.split(";"))
        if kind == "application/openmetrics-text" and "q=0" not in parameters:
            return OPENMETRICS
    return TEXT


def render(series: Iterable[Series], kind: str = TEXT) -> bytes:
    """Write `series`, ordered by name, as text of `kind`."""
    strict = kind == OPENMETRICS
    lines: list[str] = []
    for name, family in groupby(series, key=lambda one: one.name):
        members = list(family)
        lines += _head(name, members[0], strict=strict)
        for one in members:
            lines += _lines(one)
    if strict:
        lines.append("# EOF")
    return ("\n".join(lines) + "\n").encode() if lines else b""


def _head(name: str, one: Series, *, strict: bool) -> Iterator[str]:
    # OpenMetrics names the family of a counter without the suffix of its sample.
    family = name.removesuffix("_total") if strict and one.kind == "counter" else name
    if one.about:
        text = one.about.replace("\\", r"\\").replace("\n", r"\n")
        yield f"# HELP {family} {text.replace(chr(34), chr(92) + chr(34)) if strict else text}"
    yield f"# TYPE {family} {one.kind}"


def _lines(one: Series) -> Iterator[str]:
    if one.kind != "histogram":
        yield f"{one.name}{_labels(one.labels)} {_number(one.values[0])}"
        return
    labels, below = _pairs(one.labels), 0.0
    prefix = f"{one.name}_bucket{{{labels}{',' if labels else ''}le="
    for bound, count in zip(_bounds(one.bounds), one.values, strict=False):
        below += count
        yield f"{prefix}{bound}{below!r}"
    tail = f"{{{labels}}}" if labels else ""
    yield f"{one.name}_sum{tail} {_number(one.values[-1])}"
    yield f"{one.name}_count{tail} {below!r}"


@lru_cache(maxsize=100)
def _bounds(bounds: tuple[float, ...]) -> tuple[str, ...]:
    """What stands between a bucket's labels and its count: the same for many series."""
    return tuple(f'"{_number(bound)}"}} ' for bound in (*bounds, math.inf))


def _labels(labels: Labels) -> str:
    return f"{{{_pairs(labels)}}}" if labels else ""


def _pairs(labels: Labels) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(value)
