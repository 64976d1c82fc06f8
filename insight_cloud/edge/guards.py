"""What speaks against a plan although the API would take it: consent, certificates, wrong zone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from insight_cloud.edge.file import EdgeFile
from insight_cloud.edge.planning import EdgePlan
from insight_cloud.edge.plans import at_least
from insight_cloud.edge.state import State
from insight_cloud.edge.wanted import HSTS_FIRST_SECONDS, PREFIX, hsts_age

__all__ = ["objections"]

_REMOVALS = 10
_SHARE = 0.3


def objections(
    file: EdgeFile, state: State, plan: EdgePlan, *, today: date, removals: bool = False
) -> list[str]:
    """Why `plan` must not be applied to `state`; `removals` allows to remove many rules."""
    found = [*_wrong_zone(file, state), *_tls(file, state, plan, today)]
    if not removals:
        found += _removals(state, plan)
    return found


def _wrong_zone(file: EdgeFile, state: State) -> Iterator[str]:
    zone = file.edge.zone
    if zone.name != state.zone.name:
        yield (
            f"{file.place(('zone', 'name'))}: the file is for {zone.name}, and the zone "
            f"{state.zone.id} is {state.zone.name}"
        )
    if not at_least(state.zone.plan, zone.plan):
        yield (
            f"{file.place(('zone', 'plan'))}: the file counts on the plan {zone.plan}, and the "
            f"zone is on {state.zone.plan}"
        )
    if state.zone.status == "moved":
        yield f"the zone {state.zone.name} has moved away from Cloudflare's name servers"


def _tls(file: EdgeFile, state: State, plan: EdgePlan, today: date) -> Iterator[str]:
    targets = {write.target for write in plan.writes}
    secure = "active" in state.certificates or "certificates" in state.unread
    if "always_use_https" in targets and file.edge.tls.always_https and not secure:
        yield (
            f"{file.place(('tls', 'always_https'))}: the zone has no active certificate yet, so "
            "nobody could follow the redirect to https; wait until Universal SSL is active"
        )
    if "security_header" in targets:
        yield from _hsts(file, state, today, secure=secure)


def _hsts(file: EdgeFile, state: State, today: date, *, secure: bool) -> Iterator[str]:
    wanted = file.edge.tls.hsts
    if wanted is None or not wanted.enabled:
        return
    place = file.place(("tls", "hsts"))
    if not secure:
        yield f"{place}: HSTS before the zone has an active certificate would lock everybody out"
    live = _live_hsts(state)
    age = hsts_age(wanted, today)
    jump = age > HSTS_FIRST_SECONDS and live < HSTS_FIRST_SECONDS
    preload = wanted.preload and age == wanted.max_age_seconds and age >= 31_536_000
    if (jump or preload) and wanted.confirm != state.zone.name:
        what = "the preload list" if preload else f"{age} s at once"
        yield (
            f"{place}: browsers never forget what they are told here; as your consent to {what} "
            f'write confirm = "{state.zone.name}", or begin with the ramp (since = …)'
        )


def _live_hsts(state: State) -> float:
    found = state.items.get("security_header")
    value = (found.value or {}) if found else {}
    live = value.get("strict_transport_security") or {}
    return (live.get("max_age") or 0) if live.get("enabled") else 0


def _removals(state: State, plan: EdgePlan) -> Iterator[str]:
    ours = [
        rule
        for ruleset in state.rulesets.values()
        for rule in ruleset.rules
        if str(rule.get("ref", "")).startswith(PREFIX)
    ]
    removed = [change for change in plan.changes if change.verb == "delete"]
    if len(ours) >= _REMOVALS and len(removed) > _SHARE * len(ours):
        yield (
            f"{len(removed)} of {len(ours)} rules would be removed; if this is meant, say "
            "--allow-removals"
        )
