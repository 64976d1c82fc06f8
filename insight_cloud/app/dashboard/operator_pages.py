"""The operator's page: the state of the service in one view, for administrators."""

from __future__ import annotations

from fastapi import APIRouter, Response

from insight_cloud.app.dashboard import operations
from insight_cloud.app.dashboard.frames import InMember
from insight_cloud.app.observation import Observation
from insight_cloud.core.errors import Refused

__all__ = ["router"]

router = APIRouter()


@router.get("/operator")
async def operator_page(visit: InMember, period: str = "") -> Response:
    """Show health, requests, vitals, database, cache, limits, errors, jobs and messages."""
    if not visit.caller.is_admin:
        raise Refused("this page is for administrators")
    observation: Observation = visit.request.app.state.observation
    context = visit.context
    wanted = operations.chosen(period)
    found = observation.history.over(operations.PERIODS[wanted][1])
    view = operations.Operator(
        period=wanted,
        remembered=f"{found.seconds / 60:,.0f} min",
        tiles=operations.tiles(found),
        tables=(
            operations.firing(observation.alerts.firing),
            operations.health(await observation.health.report("all")),
            operations.routes(found),
            operations.slow_requests(observation.slow.requests()),
            operations.errors(observation.errors.errors()),
            operations.web_vitals(found),
            operations.pool(context.pool.statistics(), found),
            operations.statements(context.pool.recorder.statements()),
            operations.cache(found, circuit_open=context.cache.stats().circuit_open),
            operations.limits(context.limits.policies.values(), found),
            operations.background(observation.works.values()),
            operations.channels(
                () if observation.notifier is None else observation.notifier.stats()
            ),
            operations.reports(observation.reports.seen),
        ),
    )
    return visit.show("operator.html", view, "Operator", secret=True)
