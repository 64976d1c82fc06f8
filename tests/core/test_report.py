"""Reports: the worst check speaks for all."""

import pytest

from insight_cloud.core.report import Check, Report, Status, stopwatch


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ((), "skip"),
        (("skip",), "skip"),
        (("skip", "pass"), "pass"),
        (("pass", "warn"), "warn"),
        (("fail", "warn", "pass"), "fail"),
    ],
)
def test_the_worst_status_counts(found: tuple[Status, ...], status: Status) -> None:
    report = Report.of(Check(name, name) for name in found)
    assert report.status == status
    assert [check.status for check in report.failed] == [s for s in found if s == "fail"]


def test_a_report_is_plain_data() -> None:
    assert Report.of([Check("disk", "pass", "half full", 0.5)]).as_dict() == {
        "status": "pass",
        "checks": [{"name": "disk", "status": "pass", "detail": "half full", "seconds": 0.5}],
    }


def test_a_stopwatch_stops() -> None:
    with stopwatch() as watch:
        pass
    assert watch.seconds == watch.seconds >= 0
