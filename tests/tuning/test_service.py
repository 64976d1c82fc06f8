from __future__ import annotations

import pytest

from insight_cloud.core.errors import Corrupt, Unavailable
from insight_cloud.telemetry import Recorder, exposition
from insight_cloud.tuning import service
from insight_cloud.tuning.service import ServiceLimits


def exposed(*, slow: int, failed: int, lcp: float) -> str:
    """What our own recorder exposes after two hundred requests and page views."""
    recorder = Recorder()
    bounds = (0.1, 1, 2.5, 4, 10)
    requests = recorder.histogram(
        "http_request_duration_seconds", "Requests.", ("method", "route", "status"), bounds=bounds
    )
    vital = recorder.histogram("web_vital_lcp_seconds", "LCP.", ("route",), bounds=bounds)
    for number in range(200):
        status = "500" if number < failed else "200"
        requests.observe(9 if number < slow else 0.05, ("GET", f"/{number % 3}", status))
        vital.observe(lcp, ("/",))
    return exposition.render(recorder.read()).decode()


def test_a_fast_service_gives_no_finding() -> None:
    found = service.parse(exposed(slow=0, failed=0, lcp=0.5))
    assert service.judge(found, ServiceLimits()) == []
    assert set(service.unseen(found)) == {"inp", "cls", "fid"}


def test_slow_answers_errors_and_slow_pages_are_told() -> None:
    found = service.parse(exposed(slow=20, failed=10, lcp=3.5))
    kinds = {one.kind for one in service.judge(found, ServiceLimits())}
    assert kinds == {"response_p95", "response_p99", "errors", "lcp"}
    assert service.metrics(found)["errors"] == pytest.approx(5)


def test_few_requests_are_not_judged() -> None:
    found = service.parse('http_request_duration_seconds_bucket{status="500",le="+Inf"} 3\n')
    assert service.judge(found, ServiceLimits()) == []
    assert "errors" in service.unseen(found)


def test_other_texts_are_refused() -> None:
    with pytest.raises(Corrupt, match="no metrics"):
        service.parse('x_bucket{le="many"} 3')


async def test_a_service_that_is_away_is_told() -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        await service.read("http://127.0.0.1:1/metrics")
