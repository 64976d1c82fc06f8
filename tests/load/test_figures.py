from __future__ import annotations

from datetime import UTC, datetime
from xml.etree import ElementTree as ET

import msgspec
import pytest

from insight_cloud import load
from insight_cloud.load import figures, report
from insight_cloud.load.figures import Figures
from insight_cloud.load.tally import Tally

SMOKE = load.built_in("smoke").changed(steps=load.paths(["/<b>"]))


def counted(*, failed: int = 0, lag: float = 1, cpu: float = 20, seconds: int = 10) -> Tally:
    tally = Tally()
    for number in range(100):
        error = "HTTP <500>" if number < failed else None
        tally.request(("people", "/<b>", "GET"), number % seconds, 10 + number, 50, error)
        tally.iteration("people", 10 + number, whole=error is None)
        tally.lag.add(lag)
    for second in range(seconds):
        tally.second(second).cpu = cpu
    tally.due = 100
    return tally


def drawn(tally: Tally, **others: object) -> Figures:
    given: dict[str, object] = {"processes": 1, "seconds": 10.0} | others
    started = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    return figures.of(SMOKE, tally, target="http://127.0.0.1", started=started, **given)  # type: ignore[arg-type]


def test_a_good_run_is_valid_and_passes() -> None:
    found = drawn(counted())
    assert found.valid
    assert found.passed
    assert found.total.count == 100
    assert found.total.ms.p95 == pytest.approx(104, rel=0.01)
    assert [part.requests for part in found.timeline] == [10] * 10
    assert found.as_dict()["schema"] == "insight-load/1"
    assert msgspec.convert(found.as_dict(), Figures) == found


def test_too_many_failures_fail() -> None:
    found = drawn(counted(failed=5))
    assert not found.passed
    assert [t.metric for t in found.thresholds if not t.passed] == ["http_req_failed"]
    assert (found.iterations, found.broken_iterations) == (100, 5)
    assert found.errors[0].count == 5


@pytest.mark.parametrize(
    ("tally", "others", "reason"),
    [
        (counted(lag=150), {}, "too slow"),
        (counted(cpu=99), {}, "99 % of its core"),
        (counted(), {"lost": 1}, "1 of the generator's processes"),
        (Tally(), {}, "not one request"),
    ],
)
def test_a_generator_that_could_not_is_told(
    tally: Tally, others: dict[str, object], reason: str
) -> None:
    found = drawn(tally, **others)
    assert not found.valid
    assert reason in " ".join(found.invalid)
    assert reason in report.text(found)
    assert ET.fromstring(report.junit(found)).get("errors") == "1"
    assert "Invalid" in report.html(found)


def test_arrivals_that_never_began_make_a_run_invalid_unless_it_was_ended() -> None:
    tally = counted()
    tally.dropped = 5
    assert "only 95 of 100 arrivals" in " ".join(drawn(tally).invalid)
    assert drawn(tally, interrupted=True).valid
    assert drawn(tally, stopped_by="x: p(95)<1").valid


def test_a_short_peak_of_the_processor_is_not_a_bottleneck() -> None:
    tally = counted()
    tally.second(3).cpu = 100
    assert drawn(tally).valid


def test_the_reports_say_the_same_and_trust_no_text() -> None:
    found = drawn(counted(failed=5), interrupted=True)
    page = report.html(found)
    assert "<b>" not in page
    assert "&lt;b&gt;" in page
    assert "HTTP &lt;500&gt;" in page
    assert "<script" not in page
    assert "src=" not in page
    assert page.count("<polyline") == 5
    suite = ET.fromstring(report.junit(found))
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "1", "0")
    assert len(suite.findall("testcase/failure")) == 1
    text = report.text(found)
    assert "FAIL   http_req_failed: rate<0.01 (0.05)" in text
    assert "interrupted" in text


def test_a_long_run_has_a_short_timeline() -> None:
    found = drawn(counted(seconds=100), seconds=100.0)
    assert len(found.timeline) == 100
    long = Tally()
    for second in range(5000):
        long.request(("people", "/<b>", "GET"), second, 5, 1, None)
    parts = drawn(long, seconds=5000.0).timeline
    assert len(parts) <= 600
    assert sum(part.requests for part in parts) == 5000


def test_counts_of_processes_add_up() -> None:
    one, other = counted(failed=2), counted(failed=3, cpu=70)
    other.memory = {"b": 5}
    one.memory = {"a": 7}
    one.merge(Tally.of_data(msgspec.json.decode(msgspec.json.encode(other.as_data()))))
    found = drawn(one, processes=2)
    assert (found.total.count, found.total.failed) == (200, 5)
    assert found.generator.cpu_percent == 70
    assert found.generator.memory_bytes == 12
    assert found.errors[0].count == 5


def test_errors_of_many_kinds_are_kept_in_bounds() -> None:
    tally = Tally()
    for number in range(500):
        tally.request(("people", "x", "GET"), 0, 1, 0, f"error {number}" + "!" * 1000)
    assert len(tally.errors) == 101
    assert sum(tally.errors.values()) == 500
    assert max(len(text) for _, text in tally.errors) == 300
