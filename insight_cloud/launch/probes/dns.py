"""Asks name servers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.resolver

from insight_cloud.core.errors import Unavailable
from insight_cloud.launch.target import NotRun, Target

__all__ = ["read_dns"]


async def read_dns(target: Target, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The records of `name` and `type` as each of `resolvers` gives them.

    `answers` are by resolver, `all` of them together without repetition, `equal` says whether
    the resolvers agree, `ttl` is the longest. A resolver is an address, perhaps with a port.
    """
    resolvers = [str(one) for one in parameters["resolvers"]]
    if not resolvers:
        raise NotRun("values.resolvers names no resolver")
    asked = (
        _ask(target, one, str(parameters["name"]), str(parameters["type"])) for one in resolvers
    )
    found = await asyncio.gather(*asked)
    answers = {one: records for one, (records, _) in zip(resolvers, found, strict=True)}
    return {
        "answers": answers,
        "all": sorted({record for records in answers.values() for record in records}),
        "equal": len({tuple(records) for records in answers.values()}) == 1,
        "resolvers": len(resolvers),
        "ttl": max((ttl for _, ttl in found), default=0),
    }


async def _ask(target: Target, server: str, name: str, kind: str) -> tuple[list[str], int]:
    resolver = dns.asyncresolver.Resolver(configure=False)
    address, _, port = server.rpartition(":") if server.count(":") == 1 else (server, "", "")
    resolver.nameservers = [address]
    resolver.port = int(port) if port else 53
    resolver.lifetime = target.timeout_seconds
    try:
        answer = await resolver.resolve(name, kind)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return [], 0
    except dns.exception.DNSException as error:
        raise Unavailable(f"{server} does not answer for {name}: {type(error).__name__}") from error
    records = sorted(record.to_text().strip('"').replace('" "', "") for record in answer)
    ttl = answer.rrset.ttl if answer.rrset is not None else 0
    return records, ttl
