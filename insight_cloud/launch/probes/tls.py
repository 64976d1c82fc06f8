"""Looks at certificates and protocol versions by our own prober."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from insight_cloud.core.errors import InsightError
from insight_cloud.launch.target import NotRun, Target

__all__ = ["read_tls"]


async def read_tls(target: Target, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The certificate of the deployment, or of each of `names`; with `probe` also the versions.

    `hosts` are a table each: `trusted`, `problems`, `days_left`, `share_left` of its life, and
    `versions`, `weak` where they were asked for. `roots` come from `launch.ca_file`.
    """
    address = target.need_url()
    parts = urlsplit(address)
    if parts.scheme != "https":
        raise NotRun("the deployment is asked over plain http: give its https address")
    names = [str(name) for name in parameters.get("names") or [parts.hostname]]
    port = parts.port or 443
    where = target.host if parameters.get("same_address") else None
    asked = (
        _look(target, name, port, where, probe=bool(parameters.get("probe"))) for name in names
    )
    return {"hosts": list(await asyncio.gather(*asked))}


async def _look(
    target: Target, name: str, port: int, address: str | None, *, probe: bool
) -> dict[str, Any]:
    from insight_cloud.tls import certificate, checks, prober

    try:
        chain = await prober.served_chain(
            name, port, address=address, timeout_seconds=target.timeout_seconds
        )
    except InsightError as error:
        return {"name": name, "trusted": False, "problems": [str(error)], "days_left": 0}
    answers = certificate.checks(
        chain, now=target.now, names=[name], roots=checks.read_roots(target.ca_file)
    )
    left = chain.ends - target.now
    found: dict[str, Any] = {
        "name": name,
        "trusted": all(answer.status != "fail" for answer in answers),
        "problems": [f"{one.name}: {one.detail}" for one in answers if one.status == "fail"],
        "days_left": round(left.total_seconds() / 86400, 2),
        "share_left": round(left / chain.lifetime, 3),
        "enough": left.days >= 21 or left * 3 > chain.lifetime,
    }
    if probe:
        seen = await prober.probe(
            name, port, address=address, timeout_seconds=target.timeout_seconds
        )
        found["versions"] = [version.name for version in seen.versions]
        found["old"] = [name for name in found["versions"] if name not in {"TLS12", "TLS13"}]
        found["weak"] = sorted(
            {suite.name for suites in seen.suites.values() for suite in suites if suite.bits < 128}
        )
    return found
