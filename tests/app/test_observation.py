"""What the service says about itself, to whom, and when it calls the operator."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from insight_cloud import wiring
from insight_cloud.app import api, web
from insight_cloud.app.accounts import COOKIE
from insight_cloud.app.observation import Observation
from insight_cloud.backup import BackupSettings
from insight_cloud.notify import NotifySettings
from insight_cloud.settings import ServerSettings, Settings
from insight_cloud.telemetry import TelemetrySettings
from insight_cloud.tls import TlsSettings
from tests.app.dashboard.conftest import town
from tests.app.dashboard.town import Town
from tests.notify.receivers import receiver, slack_answer
from tests.telemetry.receiver import receiving

__all__ = ["town"]

TOKEN = "a-token-for-the-scraper"


@pytest.fixture
async def app(town: Town) -> Any:
    settings = Settings(telemetry=TelemetrySettings(metrics_token=SecretStr(TOKEN)))
    components = wiring.Components(town.context.pool, limits=wiring.limits(settings))
    app = web.create(settings, components)
    app.state.context = api.Context.of(components, settings)
    return app


@pytest.fixture
async def http(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://insight.test") as http:
        yield http


async def numbers(http: httpx.AsyncClient) -> dict[str, float]:
    """Every sample by its name and labels, as the official parser reads them."""
    answer = await http.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_requests_are_counted_by_route_and_never_by_address(
    app: Any, http: httpx.AsyncClient, town: Town
) -> None:
    http.cookies.set(COOKIE, await town.session())
    async with app.router.lifespan_context(app):
        for slug in ("payments", "sdk"):
            assert (await http.get(f"/projects/{slug}")).status_code == 200
        assert (await http.get("/projects/not-there")).status_code == 404
        found = await numbers(http)
    page = "[('method', 'GET'), ('route', '/projects/{slug}'), ('status', '%s')]"
    assert found["http_request_duration_seconds_count" + page % "2xx"] == 2
    assert found["http_request_duration_seconds_count" + page % "4xx"] == 1
    assert not any("payments" in name for name in found)
    assert found["database_pool_connections_max[]"] > 0
    assert found["cache_misses_total[]"] >= 2
    assert found["process_resident_memory_bytes[]"] > 1e6


async def test_denials_are_counted_by_policy(app: Any, http: httpx.AsyncClient) -> None:
    async with app.router.lifespan_context(app):
        for number in range(7):
            await http.post(
                "/sign-in",
                data={"email": f"{number}@example.org", "password": "x"},
                headers={"sec-fetch-site": "same-origin"},
            )
        found = await numbers(http)
    assert found["ratelimit_denied_total[('policy', 'auth')]"] == 2


@pytest.mark.parametrize("who", ["nobody", "wrong token", "grace", "ada"])
async def test_only_operators_see_numbers_and_single_checks(
    http: httpx.AsyncClient, town: Town, who: str
) -> None:
    if who in {"grace", "ada"}:
        http.cookies.set(COOKIE, await town.session(who))
    headers = {"authorization": "Bearer not-the-token"} if who == "wrong token" else {}
    metrics = await http.get("/metrics", headers=headers)
    health = (await http.get("/api/health", headers=headers)).json()
    assert metrics.status_code == (200 if who == "ada" else 403)
    assert health["status"] in {"pass", "warn"}
    assert ("checks" in health) == (who == "ada")
    if who == "ada":
        assert {"database:latency", "database:migrations"} <= health["checks"].keys()
        assert any("ratelimit.redis" in note for note in health["notes"])


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/startupz", "/api/health"])
async def test_health_is_no_business_of_the_limits(http: httpx.AsyncClient, path: str) -> None:
    for _ in range(3):
        answer = await http.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/health+json"
        assert answer.headers["cache-control"] == "no-store"
        assert "ratelimit" not in answer.headers


async def test_every_answer_has_the_id_under_which_it_is_logged(http: httpx.AsyncClient) -> None:
    one, other = await http.get("/sign-in"), await http.get("/nowhere")
    ids = {answer.headers["x-request-id"] for answer in (one, other)}
    assert len(ids) == 2
    forged = await http.get("/sign-in", headers={"x-request-id": "chosen-by-a-stranger"})
    assert forged.headers["x-request-id"] != "chosen-by-a-stranger"


async def test_slow_statements_reach_the_operator(town: Town) -> None:
    async with receiver(slack_answer) as slack:
        settings = Settings(notify=NotifySettings(slack_webhook_url=SecretStr(slack.url)))
        components = wiring.Components(town.context.pool, notifier=wiring.notifier(settings))
        app = web.create(settings, components)
        app.state.context = api.Context.of(components, settings)
        observation: Observation = app.state.observation
        async with observation.running(components.notifier):
            observation.history.tick()
            town.context.pool.recorder.very_slow += 3
            await observation.alerts.step()
            await observation.alerts.step()
        (message,) = slack.received
    assert "3 slow statements in 5 minutes" in json.dumps(message.json())
    assert "/operator" in json.dumps(message.json())
    assert observation.alerts.firing[0].name == "database.slow_queries"


async def test_traces_and_errors_of_the_service_arrive_where_the_settings_say(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a bug in projects")

    monkeypatch.setattr("insight_cloud.app.projects.service.visible", broken)
    with receiving(lambda _: b"") as collector, receiving() as sentry:
        key = "0123456789abcdef0123456789abcdef"
        wanted = TelemetrySettings(
            otlp_endpoint=collector.url,
            trace_share=1,
            sentry_dsn=SecretStr(f"http://{key}@127.0.0.1:{sentry.port}/7"),
        )
        settings = Settings(telemetry=wanted)
        components = wiring.Components(town.context.pool, limits=wiring.limits(settings))
        app = web.create(settings, components)
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(
                transport=transport,
                base_url="http://insight.test",
                cookies={COOKIE: await town.session()},
            ) as http:
                failed = await http.get("/")
        request = failed.headers["x-request-id"]
    assert failed.status_code == 500
    traces = b"".join(one.body for one in collector.received)
    assert bytes.fromhex(request) in traces
    assert b"GET /" in traces
    told = b"".join(one.body for one in sentry.received).decode()
    assert "a bug in projects" in told
    assert request in told


async def test_certificate_and_backups_are_in_the_health_report_and_the_metrics(
    town: Town, tmp_path: Path
) -> None:
    settings = Settings(
        server=ServerSettings(tls=True),
        tls=TlsSettings(directory=tmp_path / "certificates", names=("insight.test",)),
        backup=BackupSettings(stores=(f"file://{tmp_path}/backups",)),
    )
    (tmp_path / "backups").mkdir()
    components = wiring.Components(town.context.pool, limits=wiring.limits(settings))
    app = web.create(settings, components)
    app.state.context = api.Context.of(components, settings)
    observation: Observation = app.state.observation
    async with observation.running(components.notifier):
        await observation._look_at_backups()
        report = await observation.health.report("all")
        names = {series.name for series in observation.recorder.read()}
    found = {check.name: check for check in report.checks}
    assert found["tls.certificate"].status == "fail"
    assert "there is no good backup" in found[f"backup file://{tmp_path}/backups"].detail
    assert found["process.memory"].status in {"pass", "warn"}
    assert {"backup_reachable", "tls_renewal_failures"} <= names
    assert observation.works["backup.look"].result == "0 good backups in 1 stores"
