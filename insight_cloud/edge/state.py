"""What is on the zone now, read by many small calls at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from insight_cloud.core.errors import Corrupt, Missing, Refused, Unauthenticated
from insight_cloud.edge.cloudflare import Cloudflare
from insight_cloud.edge.items import ITEMS, item
from insight_cloud.edge.phases import MANAGED, Phase, PlanName

__all__ = ["Found", "Ruleset", "State", "ZoneInfo", "read"]

_PLANS: tuple[PlanName, ...] = ("free", "pro", "business", "enterprise")


@dataclass(frozen=True, slots=True)
class ZoneInfo:
    """The zone itself."""

    id: str
    name: str
    plan: PlanName
    status: str
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """One value of the zone; one that is not editable belongs to a higher plan."""

    value: Any
    editable: bool = True


@dataclass(frozen=True, slots=True)
class Ruleset:
    """The rules of a phase; `version` counts every change of them, by whomever."""

    version: str
    rules: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class State:
    """Everything that was read."""

    zone: ZoneInfo
    items: Mapping[str, Found]
    rulesets: Mapping[Phase, Ruleset]
    certificates: tuple[str, ...] = ()
    """The status of each certificate pack at the edge."""
    unread: Mapping[str, str] = field(default_factory=dict)
    """What the token may not read, and what Cloudflare said."""

    def fingerprint(self) -> dict[str, str]:
        """Each part of the state as a short text; two states that differ have two of them."""
        versions = {name: _text(found.value) for name, found in self.items.items()}
        return versions | {phase: ruleset.version for phase, ruleset in self.rulesets.items()}

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        return {
            "zone": {
                "id": self.zone.id,
                "name": self.zone.name,
                "plan": self.zone.plan,
                "status": self.zone.status,
            },
            "items": {
                name: {"value": found.value, "editable": found.editable}
                for name, found in sorted(self.items.items())
            },
            "rulesets": {
                phase: {"version": ruleset.version, "rules": list(ruleset.rules)}
                for phase, ruleset in self.rulesets.items()
            },
            "certificates": list(self.certificates),
            "unread": dict(self.unread),
        }


async def read(
    api: Cloudflare,
    zone: str,
    *,
    settings: Iterable[str] = (),
    only: Iterable[str] | None = None,
) -> State:
    """Read the zone `zone`: its values, those of `settings` besides, and the rules of each phase.

    With `only`, just the values and phases of these names.

    What the token may not read, or the plan does not have, is told in `unread`.

    Raises:
        Unauthenticated: the token is not valid.
        Missing: there is no such zone.
        Unavailable, RateLimited, Corrupt: as of `Cloudflare.call`.
    """
    chosen = None if only is None else set(only)
    wanted = [phase for phase in MANAGED if chosen is None or phase in chosen]
    names = list(dict.fromkeys([*ITEMS, *settings])) if chosen is None else chosen - set(wanted)
    unread: dict[str, str] = {}
    try:
        async with asyncio.TaskGroup() as group:
            token = group.create_task(_token(api, unread))
            info = group.create_task(_zone(api, zone))
            packs = group.create_task(_certificates(api, zone, unread))
            items = [group.create_task(_item(api, zone, name, unread)) for name in names]
            rulesets = [group.create_task(_ruleset(api, zone, phase, unread)) for phase in wanted]
    except* Exception as failures:  # noqa: BLE001 - one of ours comes out; the others follow from it
        raise _first(failures) from None
    if token.result() not in {"active", None}:
        raise Unauthenticated(f"the Cloudflare token is {token.result()}; make a new one")
    return State(
        info.result(),
        {name: found for name, task in zip(names, items, strict=True) if (found := task.result())},
        {
            phase: rules
            for phase, asked in zip(wanted, rulesets, strict=True)
            if (rules := asked.result())
        },
        packs.result(),
        unread,
    )


def _first(failures: BaseExceptionGroup[Any]) -> BaseException:
    """The failure that says most: a bad token is the reason of all others."""
    flat: list[BaseException] = list(_flat(failures))
    return next((error for error in flat if isinstance(error, Unauthenticated)), flat[0])


def _flat(group: BaseExceptionGroup[Any]) -> Iterable[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _flat(error)
        else:
            yield error


async def _token(api: Cloudflare, unread: dict[str, str]) -> str | None:
    """The token's status; None for a token of an account, which this call does not know.

    A token that is nothing at all is refused by every other call.
    """
    try:
        found = await api.get("/user/tokens/verify")
    except (Refused, Missing) as error:
        unread["token"] = str(error)
        return None
    return str(found.get("status")) if isinstance(found, dict) else None


async def _zone(api: Cloudflare, zone: str) -> ZoneInfo:
    found = await api.get(f"/zones/{zone}")
    try:
        plan = (found.get("plan") or {}).get("legacy_id") or "free"
        return ZoneInfo(
            found["id"],
            found["name"],
            cast("PlanName", plan) if plan in _PLANS else "free",
            found.get("status") or "unknown",
            bool(found.get("paused")),
        )
    except (AttributeError, KeyError, TypeError):
        raise Corrupt(f"the answer about the zone {zone} is not a zone") from None


async def _certificates(api: Cloudflare, zone: str, unread: dict[str, str]) -> tuple[str, ...]:
    try:
        found = await api.get(f"/zones/{zone}/ssl/certificate_packs")
    except Unauthenticated:
        raise
    except (Refused, Missing) as error:
        unread["certificates"] = str(error)
        return ()
    return tuple(str(pack.get("status")) for pack in found or () if isinstance(pack, dict))


async def _item(api: Cloudflare, zone: str, name: str, unread: dict[str, str]) -> Found | None:
    described = item(name)
    try:
        found = await api.get(f"/zones/{zone}{described.path}")
    except Unauthenticated:
        raise
    except (Refused, Missing) as error:
        unread[name] = str(error)
        return None
    if not isinstance(found, dict):
        raise Corrupt(f"the answer about {name} is not a value")
    return Found(described.value(found), found.get("editable") is not False)


async def _ruleset(
    api: Cloudflare, zone: str, phase: Phase, unread: dict[str, str]
) -> Ruleset | None:
    try:
        found = await api.ruleset(zone, phase)
    except Unauthenticated:
        raise
    except (Refused, Missing) as error:
        unread[phase] = str(error)
        return None
    return ruleset_of(found, phase)


def ruleset_of(found: Any, phase: Phase) -> Ruleset:
    """An answer of the API as rules; None as none at all.

    Raises:
        Corrupt: it is something else.
    """
    if found is None:
        return Ruleset("none", ())
    try:
        rules = tuple(dict(rule) for rule in found.get("rules") or ())
        whole = all(isinstance(rule["expression"], str) and rule["action"] for rule in rules)
        version = str(found["version"])
    except (AttributeError, KeyError, TypeError, ValueError):
        whole, version, rules = False, "", ()
    if not whole:
        raise Corrupt(f"the answer about {phase} is not a ruleset")
    return Ruleset(version, rules)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
