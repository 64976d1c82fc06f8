"""The goals of a launch are held against what was really counted, over a period."""

from __future__ import annotations

from datetime import timedelta

import pytest

from insight_cloud.core.errors import Unavailable
from insight_cloud.launch import Records, measure, success
from insight_cloud.launch.success import TARGETS
from insight_cloud.telemetry import History, Metrics, Recorder, Requests, anybody
from tests.launch.cases import counted
from tests.launch.world import NOW, Reply, World, serving


def results(found: success.Success) -> dict[str, str]:
    return {one.name: one.result for one in found.targets}


async def test_our_own_service_is_asked_for_the_period(world: World) -> None:
    recorder = Recorder()
    history = History(recorder.read)
    history.tick()
    metrics = Metrics(recorder, allowed=anybody, history=history)
    app = Requests(world.site, recorder, route=lambda _: "/")
    world.site.pages["/broken"] = Reply("no", 500)
    async with serving(app) as port, serving(metrics) as other:
        import httpx

        async with httpx.AsyncClient() as client:
            for path in ["/"] * 97 + ["/broken"] * 3:
                await client.get(f"http://127.0.0.1:{port}{path}")
        world.target["url"] = f"http://127.0.0.1:{other}"
        found = await measure(world.built(), over="15m")
    assert found.requests == 100
    assert results(found)["error_share"] == "missed"
    assert results(found)["p95_seconds"] == "met"
    assert results(found)["cache_hit_share"] == "unknown"
    assert found.missed
    assert found.unknown


async def test_another_service_is_compared_with_an_earlier_sample(
    world: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    records = Records(tmp_path_factory.mktemp("records"))
    await world.serve()
    world.site.pages["/metrics"] = Reply(counted(failed=500))
    world.now = NOW - timedelta(hours=20)
    records.keep_sample(await success.sample(world.built()), now=world.now)
    # Since then: ten thousand more, all of them well.
    later = counted(failed=500).replace(
        'status="2xx",le="0.5"} 500', 'status="2xx",le="0.5"} 10500'
    )
    later = later.replace('status="2xx",le="10"} 500', 'status="2xx",le="10"} 10500')
    later = later.replace('status="2xx",le="+Inf"} 500', 'status="2xx",le="+Inf"} 10500')
    later = later.replace(
        '_count{route="/",status="2xx"} 500', '_count{route="/",status="2xx"} 10500'
    )
    world.site.pages["/metrics"] = Reply(later)
    world.now = NOW
    world.target["samples"] = records.samples()
    found = await measure(world.built(), over="24h")
    assert found.requests == 10000
    assert found.period_hours == 20
    assert results(found)["error_share"] == "met"
    world.target["samples"] = ()
    assert results(await measure(world.built(), over="24h"))["error_share"] == "missed"


async def test_all_goals_are_met_by_a_good_service_and_each_is_missed_by_a_bad_one(
    world: World,
) -> None:
    await world.serve()
    queries = "database_statement_seconds_total {}\ndatabase_statements_total 100\n"
    world.site.pages["/metrics"] = Reply(counted() + queries.format(2))
    found = await measure(world.built(), over="48h")
    assert set(results(found).values()) == {"met"}
    assert not found.missed
    assert not found.unknown
    bad = counted(failed=60, slow=300, hits=10, lcp=60).replace('le="0.1"} 100', 'le="0.6"} 100')
    bad = bad.replace('cls_bucket{le="0.05"}', 'cls_bucket{le="0.5"}')
    world.site.pages["/metrics"] = Reply(bad + queries.format(20))
    missed = await measure(world.built(), over="48h")
    assert set(results(missed).values()) == {"missed"}
    assert len(TARGETS) == 9


async def test_a_service_that_does_not_answer_is_a_sample_and_no_report(world: World) -> None:
    world.target["url"] = "http://127.0.0.1:9"
    found = await success.sample(world.built())
    assert found["up"] is False
    with pytest.raises(Unavailable, match="does not answer"):
        await measure(world.built(), over="1h")
    await world.serve()
    with pytest.raises(Unavailable, match=r"values\.metrics_path"):
        await measure(world.built(), over="1h")
