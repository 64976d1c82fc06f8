"""The edge as code: what Cloudflare does before the application, planned, proved and applied.

wanted = compile_file(read_file(default()), today=date.today(), tiers=[Tier("api", 100, 900)])
simulator = Simulator(wanted.rulesets, **of_items(wanted.items))
assert simulator.judge(Request("https://example.com/wp-login.php")).action == "block"
async with Cloudflare(token) as api:
    zone = Zone(api, zone_id, snapshots=Path("edge-snapshots"))
    await zone.apply(plan(await zone.read(), wanted))

The names are imported when they are used: a web process reads the settings of the edge, and needs
neither its HTTP client nor the schema of an API.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from insight_cloud.edge.checks import check
    from insight_cloud.edge.cloudflare import PERMISSIONS, Cloudflare
    from insight_cloud.edge.fake import Fake
    from insight_cloud.edge.file import EdgeFile, default, json_schema
    from insight_cloud.edge.file import load as load_file
    from insight_cloud.edge.file import read as read_file
    from insight_cloud.edge.language import ExpressionError, Request, compiled, fields_of, parse
    from insight_cloud.edge.planning import EdgePlan, plan
    from insight_cloud.edge.settings import EdgeSettings
    from insight_cloud.edge.simulate import Simulator, Verdict, of_items
    from insight_cloud.edge.state import State
    from insight_cloud.edge.tiers import Tier
    from insight_cloud.edge.wanted import Wanted
    from insight_cloud.edge.wanted import wanted as compile_file
    from insight_cloud.edge.zone import Applied, Zone

__all__ = [
    "PERMISSIONS",
    "Applied",
    "Cloudflare",
    "EdgeFile",
    "EdgePlan",
    "EdgeSettings",
    "ExpressionError",
    "Fake",
    "Request",
    "Simulator",
    "State",
    "Tier",
    "Verdict",
    "Wanted",
    "Zone",
    "check",
    "compile_file",
    "compiled",
    "default",
    "fields_of",
    "json_schema",
    "load_file",
    "of_items",
    "parse",
    "plan",
    "read_file",
]

_HOMES = {
    "checks": ("check",),
    "cloudflare": ("PERMISSIONS", "Cloudflare"),
    "fake": ("Fake",),
    "file": ("EdgeFile", "default", "json_schema", "load_file", "read_file"),
    "language": ("ExpressionError", "Request", "compiled", "fields_of", "parse"),
    "planning": ("EdgePlan", "plan"),
    "settings": ("EdgeSettings",),
    "simulate": ("Simulator", "Verdict", "of_items"),
    "state": ("State",),
    "tiers": ("Tier",),
    "wanted": ("Wanted", "compile_file"),
    "zone": ("Applied", "Zone"),
}
_OTHER_NAMES = {"load_file": "load", "read_file": "read", "compile_file": "wanted"}


def __getattr__(name: str) -> Any:
    home = next((module for module, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"{__name__} has no {name}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), _OTHER_NAMES.get(name, name))
