from __future__ import annotations

import pytest
from pydantic import ValidationError

from insight_cloud.tuning import PerformanceSettings, Thresholds


def test_the_rules_judge_by_the_settings_defaults() -> None:
    assert PerformanceSettings().thresholds() == Thresholds()


@pytest.mark.parametrize(
    "values",
    [
        {"query_mean_ms": 2000},
        {"response_p95_seconds": 9},
        {"bloat_percent": 0},
        {"cache_hit_percent": 101},
        {"keep_reports": 1},
        {"wraparound_transactions": 3_000_000_000},
        {"query_mean": 1},
    ],
)
def test_thresholds_that_make_no_sense_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        PerformanceSettings(**values)
