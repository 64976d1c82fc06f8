"""Compares the edge with its file, as the wiring of this program knows both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from insight_cloud.launch.target import NotRun, Target

__all__ = ["read_edge"]


async def read_edge(target: Target, _: Mapping[str, Any]) -> Any:
    """`changes`: what `insight edge apply` would do."""
    if target.edge_plan is None:
        raise NotRun(
            "no edge is known: it needs edge.toml, CLOUDFLARE_API_TOKEN and CLOUDFLARE_ZONE_ID"
        )
    return await target.once("edge", target.edge_plan)
