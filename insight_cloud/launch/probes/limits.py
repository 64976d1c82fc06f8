"""Uses up rate limits, to see that they are what they are said to be."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx

from insight_cloud.core.errors import Corrupt, Unavailable
from insight_cloud.launch.target import NotRun, Target

__all__ = ["read_limits"]

_MOST = 500


async def read_limits(target: Target, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Of each of `tiers`: how many requests were `allowed`, and how the first refusal reads.

    A tier is `{name, path, limit, method, headers, json, form}`. `at_once` sends from so many
    connections together, `addresses` in turn from each of these addresses of this machine.
    One more request than the limit is sent, so whoever shares the key has to wait afterwards.
    """
    base, addresses = target.need_url(), parameters.get("addresses")
    if addresses is not None and len(addresses) < 2:
        raise NotRun("values.client_addresses names fewer than two addresses of this machine")
    return {"tiers": [await _use_up(target, base, one, parameters) for one in parameters["tiers"]]}


async def _use_up(
    target: Target, base: str, tier: Mapping[str, Any], parameters: Mapping[str, Any]
) -> dict[str, Any]:
    limit = int(tier["limit"])
    if not 0 < limit < _MOST:
        raise Corrupt(f"a limit that is tried lies between 1 and {_MOST - 1}")
    clients = [_client(target, one) for one in parameters.get("addresses") or [None]]
    at_once = asyncio.Semaphore(int(parameters.get("at_once", 1)))

    async def ask(number: int) -> httpx.Response:
        async with at_once:
            return await _send(clients[number % len(clients)], base, tier)

    try:
        answers = await asyncio.gather(*(ask(number) for number in range(limit + 1)))
    except httpx.HTTPError as error:
        raise Unavailable(
            f"{base}{tier['path']} does not answer: {type(error).__name__}"
        ) from error
    finally:
        for client in clients:
            await client.aclose()
    refused = [answer for answer in answers if answer.status_code == 429]
    return {
        "name": tier.get("name", tier["path"]),
        "limit": limit,
        "allowed": len(answers) - len(refused),
        "server_errors": sum(answer.status_code >= 500 for answer in answers),
        "refused": len(refused),
        "retry_after": refused[0].headers.get("retry-after") if refused else None,
        "last": answers[-1].status_code,
    }


def _client(target: Target, address: str | None) -> httpx.AsyncClient:
    transport = httpx.AsyncHTTPTransport(verify=target.trust(), local_address=address)
    return httpx.AsyncClient(transport=transport, timeout=target.timeout_seconds, trust_env=False)


async def _send(client: httpx.AsyncClient, base: str, tier: Mapping[str, Any]) -> httpx.Response:
    body = {name: tier[name] for name in ("json",) if name in tier}
    if "form" in tier:
        body["data"] = tier["form"]
    return await client.request(
        str(tier.get("method", "GET")),
        base + str(tier["path"]),
        headers={str(name): str(value) for name, value in tier.get("headers", {}).items()},
        **body,
    )
