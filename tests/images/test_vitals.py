from __future__ import annotations

from insight_cloud.images import vitals


def test_the_script_is_a_file_that_a_strict_policy_allows() -> None:
    script = vitals()
    assert "data-endpoint" in script
    assert "sendBeacon" in script
    assert "eval" not in script
