from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from insight_cloud.telemetry import Recorder
from insight_cloud.telemetry.exposition import OPENMETRICS, TEXT, content_type, render


def filled(label: str = "GET", about: str = "Requests.") -> Recorder:
    recorder = Recorder()
    recorder.counter("request_total", about, ("method",)).add((label,), 3)
    recorder.gauge("open", about).set(1.5)
    histogram = recorder.histogram("took_seconds", about, ("method",), bounds=(0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(value, (label,))
    return recorder


def parsed(text: bytes, kind: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    parse: Any = parse_openmetrics if kind == OPENMETRICS else parse_text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(text.decode())
        for sample in family.samples
    }


@pytest.mark.parametrize("kind", [TEXT, OPENMETRICS])
def test_the_official_parser_reads_what_was_recorded(kind: str) -> None:
    method = ("method", "GET")
    assert parsed(render(filled().read(), kind), kind) == {
        ("open", ()): 1.5,
        ("request_total", (method,)): 3.0,
        ("took_seconds_bucket", (("le", "0.1"), method)): 2.0,
        ("took_seconds_bucket", (("le", "1.0"), method)): 3.0,
        ("took_seconds_bucket", (("le", "+Inf"), method)): 4.0,
        ("took_seconds_count", (method,)): 4.0,
        ("took_seconds_sum", (method,)): 7.65,
    }


@pytest.mark.parametrize("kind", [TEXT, OPENMETRICS])
@given(
    label=st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=20),
    about=st.text(st.sampled_from('ab \\"n\n'), min_size=1, max_size=10),
)
def test_any_label_and_description_comes_back_unchanged(kind: str, label: str, about: str) -> None:
    text = render(filled(label, about).read(), kind)
    found = parsed(text, kind)
    assert ("request_total", (("method", label),)) in found
    parse: Any = parse_openmetrics if kind == OPENMETRICS else parse_text
    # The older parser strips the ends of a description.
    assert {family.documentation.strip() for family in parse(text.decode())} == {about.strip()}


def test_special_numbers_are_written_as_prometheus_reads_them() -> None:
    recorder = Recorder()
    for name, value in (("a", math.inf), ("b", -math.inf), ("c", math.nan)):
        recorder.gauge(name).set(value)
    found = parsed(render(recorder.read()), TEXT)
    assert found["a", ()] == math.inf
    assert found["b", ()] == -math.inf
    assert math.isnan(found["c", ()])


def test_nothing_recorded_is_an_empty_text() -> None:
    assert render(()) == b""
    assert render((), OPENMETRICS) == b"# EOF\n"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3", OPENMETRICS),
        ("application/openmetrics-text; q=0, text/plain", TEXT),
        ("text/plain;version=0.0.4", TEXT),
    ],
)
def test_openmetrics_is_for_who_asks(accept: str, kind: str) -> None:
    assert content_type(accept) == kind
