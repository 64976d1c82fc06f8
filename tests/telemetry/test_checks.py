from __future__ import annotations

import pytest

from insight_cloud.core.report import Check
from insight_cloud.telemetry import Alert, Alerts, LoopLag, Rule
from insight_cloud.telemetry.checks import check, memory_share
from insight_cloud.telemetry.process import memory_limit_bytes


def one(checks: list[Check], name: str) -> Check:
    (found,) = [check for check in checks if check.name == name]
    return found


async def test_a_healthy_process_passes() -> None:
    found = await check(LoopLag())
    assert {check.name: check.status for check in found} == {
        "process.memory": "pass",
        "process.files": "pass",
        "process.loop": "pass",
    }


async def test_memory_near_the_limit_warns() -> None:
    limit = memory_limit_bytes()
    assert limit is not None
    assert memory_share(lambda: limit / 2) == pytest.approx(0.5)
    found = one(await check(used_bytes=lambda: limit * 0.95), "process.memory")
    assert found.status == "warn"
    assert found.detail.endswith("95% of the limit")


async def test_a_late_loop_warns() -> None:
    lag = LoopLag()
    lag.note(0.7)
    found = one(await check(lag), "process.loop")
    assert (found.status, found.detail) == ("warn", "at most 700 ms late in the last minute")


async def test_alerts_that_nobody_gets_warn() -> None:
    broken = True

    async def send(alert: Alert) -> None:
        if broken:
            raise OSError("no route")

    alerts = Alerts([Rule("queue", "x", lambda: 2.0, 1, for_seconds=0)], send)
    assert one(await check(alerts=alerts), "alerts.delivery").detail == "nothing to tell"
    await alerts.step()
    assert one(await check(alerts=alerts), "alerts.delivery").status == "warn"
    broken = False
    await alerts.step()
    assert one(await check(alerts=alerts), "alerts.delivery") == Check(
        "alerts.delivery", "pass", "told: queue"
    )
