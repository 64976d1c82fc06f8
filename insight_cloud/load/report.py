"""A result for people and for other programs: text, one HTML file, JUnit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from xml.etree import ElementTree as ET

from insight_cloud.load.figures import Figures, Judged, Request, Slice

__all__ = ["html", "junit", "text"]

_WIDTH, _HEIGHT = 860, 160
_STYLE = """
:root{color-scheme:light dark;--line:#8884;--bad:#c62828;--good:#2e7d32}
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:.25rem .5rem;border-bottom:1px solid var(--line)}
th:first-child,td:first-child{text-align:left}
.scroll{overflow-x:auto}.pass{color:var(--good)}.fail{color:var(--bad);font-weight:600}
svg{width:100%;height:auto}figure{margin:1rem 0}
"""


def text(found: Figures) -> str:
    """The lines for a terminal."""
    return "\n".join(_lines(found))


def _lines(found: Figures) -> Iterator[str]:
    yield (
        f"{found.scenario} on {found.target}: {found.total.count} requests in "
        f"{found.seconds:.0f} s, {found.total.failed} failed, "
        f"{found.iterations - found.broken_iterations} of {found.iterations} passages whole"
    )
    width = max([len(request.name) for request in found.requests] + [8])
    yield ""
    yield (
        f"{'':{width}} {'count':>8} {'failed':>7} {'a second':>9} "
        f"{'p50 ms':>9} {'p90':>9} {'p95':>9} {'p99':>9} {'most':>9}"
    )
    for request in (*found.requests, found.total):
        ms = request.ms
        yield (
            f"{request.name:{width}} {request.count:>8} {request.failed:>7} "
            f"{request.per_second:>9.1f} {ms.p50:>9.1f} {ms.p90:>9.1f} {ms.p95:>9.1f} "
            f"{ms.p99:>9.1f} {ms.most:>9.1f}"
        )
    yield ""
    for problem in found.errors[:10]:
        yield f"error  {problem.count:>6} times {problem.name}: {problem.error}"
    for threshold in found.thresholds:
        said = f"{threshold.metric}: {threshold.expression} ({_value(threshold)})"
        yield f"{_word(threshold):6} {said}"
    own = found.generator
    yield (
        f"the generator: {own.processes} process{'es' if own.processes > 1 else ''}, "
        f"{own.cpu_percent:.0f} % of a core, p99 of its own lateness {own.lag_p99_ms:.1f} ms, "
        f"{own.memory_bytes / 2**20:.0f} MiB"
    )
    if found.stopped_by:
        yield f"ended early by {found.stopped_by}"
    if found.interrupted:
        yield "interrupted: these are the figures until then"
    for reason in found.invalid:
        yield f"INVALID: {reason}"


def _word(threshold: Judged) -> str:
    return "pass" if threshold.passed else "FAIL"


def _value(threshold: Judged) -> str:
    return "nothing was measured" if threshold.value is None else f"{threshold.value:g}"


# -- JUnit ---------------------------------------------------------------------------------------


def junit(found: Figures) -> bytes:
    """Each threshold as a test case, and one that the figures may be believed."""
    suite = ET.Element(
        "testsuite",
        name=f"load {found.scenario}",
        tests=str(len(found.thresholds) + 1),
        failures=str(sum(not threshold.passed for threshold in found.thresholds)),
        errors=str(int(not found.valid)),
        skipped="0",
        time=f"{found.seconds:.3f}",
        timestamp=found.started.isoformat(timespec="seconds"),
    )
    believed = ET.SubElement(suite, "testcase", classname="load", name="the generator kept up")
    if not found.valid:
        ET.SubElement(believed, "error", message="; ".join(found.invalid))
    for threshold in found.thresholds:
        name = f"{threshold.metric}: {threshold.expression}"
        case = ET.SubElement(suite, "testcase", classname="load", name=name)
        if not threshold.passed:
            ET.SubElement(case, "failure", message=_value(threshold))
    written: bytes = ET.tostring(suite, encoding="utf-8", xml_declaration=True)
    return written


# -- HTML ----------------------------------------------------------------------------------------


def html(found: Figures) -> str:
    """One file, without scripts and without anything to fetch."""
    title = f"Load: {found.scenario}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style><body><h1>{escape(title)}</h1>"
        f"<p>{escape(found.target)}, {found.started:%Y-%m-%d %H:%M} UTC, {found.seconds:.0f} s, "
        f"up to {found.users} users</p>{_verdict(found)}"
        f"<h2>Thresholds</h2>{_thresholds(found.thresholds)}"
        f"<h2>Requests</h2>{_requests((*found.requests, found.total))}"
        f"{_chart('Milliseconds', found.timeline, ('p50_ms', 'p95_ms', 'p99_ms'))}"
        f"{_chart('Requests and failures', found.timeline, ('requests', 'failed'))}"
        f"{_errors(found)}<h2>The generator</h2>{_generator(found)}</body></html>"
    )


def _verdict(found: Figures) -> str:
    if not found.valid:
        reasons = "".join(f"<li>{escape(reason)}</li>" for reason in found.invalid)
        return f'<p class="fail">Invalid: the generator was the bottleneck</p><ul>{reasons}</ul>'
    word = "pass" if found.passed else "fail"
    note = ", interrupted" if found.interrupted else ""
    note += f", ended early by {escape(found.stopped_by)}" if found.stopped_by else ""
    return f'<p class="{word}">{word}{note}</p>'


def _thresholds(thresholds: Sequence[Judged]) -> str:
    rows = "".join(
        f"<tr><td>{escape(t.metric)}</td><td>{escape(t.expression)}</td><td>{_value(t)}</td>"
        f'<td class="{"pass" if t.passed else "fail"}">{_word(t).lower()}</td></tr>'
        for t in thresholds
    )
    return f"<table><tr><th>Metric<th>Wanted<th>Measured<th></tr>{rows}</table>"


def _requests(requests: Sequence[Request]) -> str:
    head = "".join(
        f"<th>{name}"
        for name in ("Step", "Count", "Failed", "A second", "p50 ms", "p90", "p95", "p99", "Most")
    )
    rows = "".join(
        f"<tr><td>{escape(r.name)}<td>{r.count}<td{_bad(r.failed)}>{r.failed}"
        f"<td>{r.per_second:.1f}<td>{r.ms.p50:.1f}<td>{r.ms.p90:.1f}<td>{r.ms.p95:.1f}"
        f"<td>{r.ms.p99:.1f}<td>{r.ms.most:.1f}</tr>"
        for r in requests
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{rows}</table></div>'


def _bad(number: int) -> str:
    return ' class="fail"' if number else ""


def _errors(found: Figures) -> str:
    if not found.errors:
        return ""
    rows = "".join(
        f"<tr><td>{escape(p.name)}<td>{escape(p.error)}<td>{p.count}</tr>" for p in found.errors
    )
    return f"<h2>Errors</h2><table><tr><th>Step<th>Error<th>Count</tr>{rows}</table>"


def _generator(found: Figures) -> str:
    own = found.generator
    return (
        f"<p>{own.processes} process(es), {own.cpu_percent:.0f} % of a core; requests began "
        f"{own.lag_p99_ms:.1f} ms late at p99, {own.lag_most_ms:.1f} ms at most; {own.waited} "
        f"arrivals waited for a user, {own.dropped} of {own.due} never began; "
        f"{own.memory_bytes / 2**20:.0f} MiB.</p>"
    )


def _chart(title: str, timeline: Sequence[Slice], names: Sequence[str]) -> str:
    """Lines over the seconds of the run."""
    if len(timeline) < 2:
        return ""
    rows = {name: [float(getattr(slice_, name)) for slice_ in timeline] for name in names}
    top = max(max(row) for row in rows.values()) or 1.0
    lines = "".join(
        f'<polyline fill="none" stroke="hsl({210 - 75 * number} 70% 45%)" stroke-width="1.5" '
        f'points="{_points(row, top)}"><title>{name}</title></polyline>'
        for number, (name, row) in enumerate(rows.items())
    )
    legend = ", ".join(
        f'<span style="color:hsl({210 - 75 * number} 70% 45%)">{name.removesuffix("_ms")}</span>'
        for number, name in enumerate(names)
    )
    return (
        f"<figure><figcaption>{title}: {legend}; top {top:.0f}</figcaption>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title} over time">'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="none" stroke="#8886"/>{lines}'
        "</svg></figure>"
    )


def _points(row: Sequence[float], top: float) -> str:
    step = _WIDTH / (len(row) - 1)
    return " ".join(
        f"{number * step:.1f},{_HEIGHT - value / top * (_HEIGHT - 10):.1f}"
        for number, value in enumerate(row)
    )
