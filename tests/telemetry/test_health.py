from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable

import jsonschema
import pytest

from insight_cloud.core.report import Check
from insight_cloud.telemetry import Health, Probe, anybody, nobody
from insight_cloud.telemetry.health import PATHS
from tests.telemetry.asgi import answering, call

Asked = Callable[[], Awaitable[Iterable[Check]]]


def finding(*checks: Check) -> Asked:
    async def check() -> Iterable[Check]:
        return checks

    return check


def counting(asked: list[float]) -> Asked:
    async def check() -> Iterable[Check]:
        asked.append(1)
        await asyncio.sleep(0)
        return [Check("cache", "pass")]

    return check


GOOD = Probe("database", finding(Check("database.latency", "pass", "0.4 ms", 0.0004)))
SLOW = Probe("cache", finding(Check("cache.hits", "warn", "few")))
BAD = Probe("queue", finding(Check("queue.length", "fail", "stuck at redis://:s3cret@q")))


async def test_a_good_service_passes_everywhere_and_tells_no_detail() -> None:
    health = Health([GOOD], startup=[GOOD], version="1", release="1.2.3")
    for path in PATHS:
        for asked in (path, f"{path}?verbose"):
            answer = await call(health, asked)
            assert (answer.status, answer.json) == (200, {"status": "pass"})
            assert answer.headers["content-type"] == "application/health+json"
            assert answer.headers["cache-control"] == "no-store"


async def test_who_is_allowed_sees_the_drafts_details() -> None:
    probe = Probe("database", GOOD.check, component="datastore")
    health = Health([probe], allowed=anybody, version="1", release="1.2.3", service="insight")
    answer = await call(health, "/api/health")
    (detail,) = answer.json["checks"].pop("database:latency")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", detail.pop("time"))
    assert detail == {
        "status": "pass",
        "componentType": "datastore",
        "observedValue": 0.4,
        "observedUnit": "ms",
    }
    assert answer.json == {
        "status": "pass",
        "version": "1",
        "releaseId": "1.2.3",
        "serviceId": "insight",
        "checks": answer.json["checks"],
    }
    assert (await call(health, "/readyz")).json == {"status": "pass"}
    assert "checks" in (await call(health, "/readyz?verbose")).json


@pytest.mark.parametrize(
    ("probes", "status", "code"),
    [
        ([], "pass", 200),
        ([GOOD], "pass", 200),
        ([GOOD, SLOW], "warn", 200),
        ([GOOD, SLOW, BAD], "fail", 503),
    ],
)
async def test_the_worst_status_counts(probes: list[Probe], status: str, code: int) -> None:
    health = Health(probes)
    for path in ("/readyz", "/api/health"):
        answer = await call(health, path)
        assert (answer.json["status"], answer.status) == (status, code)
    assert (await call(health, "/livez")).status == 200


async def test_output_is_told_without_secrets() -> None:
    answer = await call(Health([BAD], allowed=anybody), "/readyz?verbose")
    (detail,) = answer.json["checks"]["queue:length"]
    assert detail["output"] == "stuck at redis://[redacted]@q"


async def test_a_probe_can_be_excluded_and_a_misspelt_one_is_named() -> None:
    health = Health([GOOD, BAD], allowed=anybody)
    assert (await call(health, "/readyz?exclude=queue")).status == 200
    answer = await call(health, "/readyz?verbose&exclude=queue&exclude=cueue")
    assert list(answer.json["checks"]) == ["database:latency"]
    assert answer.json["notes"] == ["no probe is called 'cueue'"]
    assert (await call(health, "/readyz?exclude=cueue")).status == 503


async def test_what_is_not_required_is_no_reason_to_send_requests_elsewhere() -> None:
    health = Health([GOOD, Probe("backup", BAD.check, required=False)])
    assert (await call(health, "/readyz")).status == 200
    assert (await call(health, "/api/health")).status == 503


async def test_what_was_skipped_is_neither_passed_nor_failed() -> None:
    skipped = Probe("limits", finding(Check("limits.redis", "skip", "no Redis is set")))
    answer = await call(Health([skipped], allowed=anybody), "/api/health")
    assert answer.status == 200
    assert answer.json["checks"] == {}
    assert answer.json["notes"] == ["limits.redis was not checked: no Redis is set"]


async def test_a_silent_probe_fails_at_its_own_limit_and_is_not_piled_up() -> None:
    asked = []

    async def stubborn() -> Iterable[Check]:
        asked.append(1)
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue
        return [Check("disk", "pass")]

    released = asyncio.Event()
    silent = Probe("disk", stubborn, timeout_seconds=0.01)
    health = Health([GOOD, silent], allowed=anybody, cache_seconds=0)
    first = await call(health, "/readyz?verbose")
    assert first.status == 503
    assert first.json["checks"]["disk:responseTime"][0]["output"] == "no answer in 0.01 s"
    assert first.json["checks"]["database:latency"][0]["status"] == "pass"
    second = await call(health, "/readyz?verbose")
    (detail,) = second.json["checks"]["disk:responseTime"]
    assert detail["output"] == "an earlier question has not been answered yet"
    assert len(asked) == 1
    released.set()
    for _ in range(3):
        await asyncio.sleep(0)
    assert (await call(health, "/readyz")).status == 200


async def test_a_probe_that_raises_has_failed(caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> Iterable[Check]:
        raise OSError("no route to redis://:s3cret@q")

    answer = await call(Health([Probe("cache", broken)], allowed=anybody), "/readyz?verbose")
    (detail,) = answer.json["checks"]["cache:responseTime"]
    assert detail["output"] == "OSError: no route to redis://[redacted]@q"
    assert caplog.records[0].getMessage() == "health.probe_failed: cache"


async def test_callers_at_one_time_share_one_question_and_its_answer_is_kept() -> None:
    now, asked = 0.0, list[float]()
    probe = Probe("cache", counting(asked))
    health = Health([probe], cache_seconds=2, clock=lambda: now)
    await asyncio.gather(*(call(health, "/readyz") for _ in range(50)))
    assert len(asked) == 1
    now = 1.9
    await call(health, "/api/health")
    assert len(asked) == 1
    now = 2.1
    await call(health, "/readyz")
    assert len(asked) == 2


async def test_a_caller_that_goes_away_does_not_end_the_question_of_the_others() -> None:
    asked = list[float]()
    health = Health([Probe("cache", counting(asked))])
    leader = asyncio.create_task(call(health, "/readyz"))
    follower = asyncio.create_task(call(health, "/readyz"))
    await asyncio.sleep(0)
    leader.cancel()
    assert (await follower).status == 200
    assert len(asked) == 1


async def test_startup_must_pass_once_and_holds_back_readiness() -> None:
    state = "fail"

    async def migrated() -> Iterable[Check]:
        return [Check("database.migrations", state)]  # type: ignore[arg-type]

    health = Health([GOOD], startup=[Probe("migrations", migrated)], cache_seconds=0)
    assert (await call(health, "/startupz")).status == 503
    assert (await call(health, "/readyz")).status == 503
    assert (await call(health, "/startupz?exclude=migrations")).status == 200
    assert (await call(health, "/startupz")).status == 503  # left out is not passed
    assert (await call(health, "/livez")).status == 200
    state = "pass"
    assert (await call(health, "/startupz")).status == 200
    state = "fail"
    assert (await call(health, "/startupz")).status == 200
    assert (await call(health, "/readyz")).status == 200


async def test_a_draining_service_is_alive_and_not_ready() -> None:
    health = Health([GOOD], allowed=anybody)
    health.drain()
    answer = await call(health, "/readyz?verbose")
    assert answer.status == 503
    assert answer.json["checks"]["process:draining"][0]["output"].startswith("shutting down")
    assert (await call(health, "/livez")).status == 200
    assert (await call(health, "/api/health")).status == 200


async def test_other_paths_and_methods() -> None:
    assert (await call(Health(), "/other")).status == 404
    assert (await call(Health(app=answering(202)), "/other")).status == 202
    assert (await call(Health(app=answering(202)), "/livez")).status == 200
    refused = await call(Health(), "/livez", method="POST")
    assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")
    head = await call(Health(), "/livez", method="HEAD")
    assert (head.status, head.body) == (200, b"")


async def test_a_report_without_http() -> None:
    report = await Health([GOOD, BAD]).report("all", exclude=["queue"])
    assert [check.name for check in report.checks] == ["database.latency"]
    assert (await Health([GOOD, BAD]).report("ready")).status == "fail"


DRAFT = {
    "type": "object",
    "required": ["status"],
    "additionalProperties": False,
    "properties": {
        "status": {"enum": ["pass", "fail", "warn"]},
        "version": {"type": "string"},
        "releaseId": {"type": "string"},
        "serviceId": {"type": "string"},
        "description": {"type": "string"},
        "output": {"type": "string"},
        "notes": {"type": "array", "items": {"type": "string"}},
        "links": {"type": "object", "additionalProperties": {"type": "string"}},
        "checks": {
            "type": "object",
            "propertyNames": {"pattern": "^[^:]+(:[^:]+)?$"},
            "additionalProperties": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "componentId": {"type": "string"},
                        "componentType": {"enum": ["component", "datastore", "system"]},
                        "observedValue": {},
                        "observedUnit": {"type": "string"},
                        "status": {"enum": ["pass", "fail", "warn"]},
                        "affectedEndpoints": {"type": "array", "items": {"type": "string"}},
                        "time": {"type": "string", "format": "date-time"},
                        "output": {"type": "string"},
                        "links": {"type": "object"},
                    },
                },
            },
        },
    },
}
"""What draft-inadarei-api-health-check-06 says of a body (sections 3 and 4), as a schema."""


@pytest.mark.parametrize("path", PATHS)
async def test_every_body_is_as_the_draft_wants_it(path: str) -> None:
    skipped = Probe("limits", finding(Check("limits.redis", "skip", "no Redis is set")))
    probes = [GOOD, SLOW, BAD, skipped, Probe("many", finding(*(Check("many.x", "pass"),) * 3))]
    for allowed in (anybody, nobody):
        health = Health(probes, startup=[SLOW], allowed=allowed, version="1", release="1.2.3")
        answer = await call(health, f"{path}?verbose&exclude=nothing")
        checker = jsonschema.Draft202012Validator(
            DRAFT, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
        )
        assert [error.message for error in checker.iter_errors(answer.json)] == []
        assert answer.status == (503 if answer.json["status"] == "fail" else 200)
