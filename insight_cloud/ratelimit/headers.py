"""The response headers of draft-ietf-httpapi-ratelimit-headers-11, and its problem documents."""

from __future__ import annotations

import functools
import json
import math

from insight_cloud.ratelimit.policy import Decision, Policy

__all__ = ["fields", "problem"]

_TYPES = "https://iana.org/assignments/http-problem-types#"


def fields(decision: Decision, policies: tuple[Policy, ...]) -> list[tuple[bytes, bytes]]:
    """Return `RateLimit-Policy`, `RateLimit` where something is known, `Retry-After` if denied."""
    headers = [(b"ratelimit-policy", _policies(policies))]
    items = [
        f'"{standing.policy.name}";r={standing.remaining}'
        + (f";t={math.ceil(standing.next_seconds)}" if standing.next_seconds else "")
        for standing in decision.standings
    ]
    if items:
        headers.append((b"ratelimit", ", ".join(items).encode()))
    if not decision.admitted:
        headers.append((b"retry-after", str(wait_seconds(decision)).encode()))
    return headers


def problem(decision: Decision) -> tuple[int, bytes]:
    """Return status and body of the answer to a request that is not admitted."""
    wait = wait_seconds(decision)
    names = [policy.name for policy in decision.violated]
    if decision.source == "closed":
        return 503, _document(
            "temporary-reduced-capacity",
            "Request cannot be satisfied due to temporary server capacity constraints",
            503,
            f"The request limits cannot be checked at the moment; try again in {wait} s.",
            names,
        )
    return 429, _document(
        "quota-exceeded",
        "Request cannot be satisfied as assigned quota has been exceeded",
        429,
        f"Too many requests; try again in {wait} s.",
        names,
    )


def wait_seconds(decision: Decision) -> int:
    """Return whole seconds after which the same request can be admitted, at least 1."""
    return max(1, math.ceil(decision.retry_after))


@functools.lru_cache(maxsize=1024)
def _policies(policies: tuple[Policy, ...]) -> bytes:
    return ", ".join(
        f'"{policy.name}";q={policy.limit};w={max(1, math.ceil(policy.seconds))}'
        for policy in policies
    ).encode()


def _document(kind: str, title: str, status: int, detail: str, names: list[str]) -> bytes:
    return json.dumps(
        {
            "type": _TYPES + kind,
            "title": title,
            "status": status,
            "detail": detail,
            "violated-policies": names,
        }
    ).encode()
