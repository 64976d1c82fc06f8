"""Is the edge as it shall be, and can it be changed? One check for each reason against it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from datetime import date
from pathlib import Path

from insight_cloud.core.report import Check
from insight_cloud.edge import probes
from insight_cloud.edge.file import EdgeFile
from insight_cloud.edge.guards import objections
from insight_cloud.edge.planning import EdgePlan
from insight_cloud.edge.state import State

__all__ = ["check"]


async def check(
    file: EdgeFile,
    state: State,
    plan: EdgePlan,
    *,
    today: date,
    ca_file: Path | None = None,
    ask: Callable[..., Awaitable[str]] = probes.health,
) -> list[Check]:
    """Every check of the zone; `ask` fetches the health address."""
    zone = file.edge.zone
    checks = [*_of_state(state), *_of_plan(file, state, plan, today)]
    if zone.health is None:
        checks.append(Check("edge.health", "skip", "zone.health is not set"))
    else:
        said = await ask(zone.health, ca_file=ca_file)
        checks.append(Check("edge.health", "fail" if said else "pass", said or zone.health))
    if zone.origin is None:
        checks.append(Check("edge.origin", "skip", "zone.origin is not set"))
    else:
        said = await probes.origin_certificate(zone.origin, zone.name, ca_file=ca_file)
        told = said or f"{zone.origin} has a certificate for {zone.name}"
        checks.append(Check("edge.origin", "fail" if said else "pass", told))
    return checks


def _of_state(state: State) -> Iterator[Check]:
    unknown = state.unread.get("token")
    yield Check("edge.token", "warn" if unknown else "pass", unknown or "active")
    active = state.zone.status == "active"
    yield Check(
        "edge.zone", "pass" if active else "fail", f"{state.zone.name}, {state.zone.status}"
    )
    unread = {name: said for name, said in state.unread.items() if name != "token"}
    if unread:
        told = "; ".join(f"{name}: {said}" for name, said in unread.items())
        yield Check("edge.permissions", "warn", told)
    else:
        yield Check("edge.permissions", "pass", "everything can be read")
    if "certificates" not in state.unread:
        has = "active" in state.certificates
        told = ", ".join(state.certificates) or "none"
        yield Check("edge.certificate", "pass" if has else "fail", told)


def _of_plan(file: EdgeFile, state: State, plan: EdgePlan, today: date) -> Iterator[Check]:
    said = [*objections(file, state, plan, today=today), *plan.unavailable]
    yield Check("edge.objections", "fail" if said else "pass", "; ".join(said) or "none")
    told = ", ".join(change.target for change in plan.changes)
    yield Check("edge.drift", "fail" if plan else "pass", told or "as the file says")
    yield Check("edge.unmanaged", "pass", "; ".join(plan.unmanaged) or "no rules of others")
