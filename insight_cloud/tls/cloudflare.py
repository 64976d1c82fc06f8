"""Cloudflare's API as far as certificates need it: TXT records for dns-01, and the Origin CA."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import httpx
from cryptography.hazmat.primitives import serialization

from insight_cloud.core.errors import (
    Corrupt,
    InsightError,
    Missing,
    RateLimited,
    Refused,
    SettingsError,
    Unavailable,
)
from insight_cloud.tls import certificate
from insight_cloud.tls.certificate import Certificate
from insight_cloud.tls.issuer import Advice, Issued, Wanted

__all__ = ["Api", "OriginCa", "Records"]

_ANSWER_BYTES = 4 * 1024 * 1024
_TTL_SECONDS = 60
_PAGES = 100
_NOTE = "insight-cloud: proof for a certificate, may be removed"


class Api:
    """Calls with a token, each on a connection of its own: they are few and far between.

    Args:
        token: an API token, never the global key. It is sent in a header and never shown.
        url: where the API is.
        timeout_seconds: for a whole call.
    """

    def __init__(
        self,
        token: str,
        *,
        url: str = "https://api.cloudflare.com/client/v4",
        timeout_seconds: float = 30,
    ) -> None:
        if not token.isascii() or not token.strip():
            raise SettingsError(
                "the Cloudflare token is empty or no token: set tls.cloudflare_token"
            )
        self._token = token.strip()
        self._url = url.rstrip("/")
        self._timeout = timeout_seconds

    async def call(
        self,
        method: str,
        path: str,
        *,
        needs: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Any:
        """Return `result` of an answer.

        Args:
            method: the HTTP method.
            path: below the API's address.
            needs: the permission that the token must have, for the message.
            body: sent as JSON.
            query: sent in the address.

        Raises:
            Refused, Missing, RateLimited, Unavailable, Corrupt: what Cloudflare or the way to it
                said; never with the token.
        """
        status, headers, answer = await self._send(method, path, body, query)
        if status == httpx.codes.OK and answer.get("success") is True:
            return answer.get("result")
        raise _explained(status, headers, answer, f"{method} {path}", needs)

    async def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        query: Mapping[str, str] | None,
    ) -> tuple[int, httpx.Headers, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {self._token}"}
        try:
            async with (
                httpx.AsyncClient(timeout=self._timeout, headers=headers) as client,
                client.stream(method, f"{self._url}{path}", json=body, params=query) as response,
            ):
                data = bytearray()
                async for chunk in response.aiter_bytes():
                    data += chunk
                    if len(data) > _ANSWER_BYTES:
                        raise Corrupt(f"Cloudflare sent more than {_ANSWER_BYTES} bytes")
                return response.status_code, response.headers, _parsed(bytes(data))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unavailable(
                f"Cloudflare's API at {self._url} does not answer ({type(error).__name__})",
                retry_after=60,
            ) from error


class Records:
    """TXT records in the zones that the token can see.

    Args:
        api: how to call.
        zone_id: the only zone; without it the zone of each name is looked up.
    """

    def __init__(self, api: Api, *, zone_id: str | None = None) -> None:
        self._api = api
        self._zone = zone_id
        self._zones: dict[str, str] = {}

    async def add(self, name: str, value: str) -> str:
        """Add a record beside those that are there; the identifier holds zone and record."""
        zone = await self._zone_of(name)
        body = {
            "type": "TXT",
            "name": name,
            "content": f'"{value}"',
            "ttl": _TTL_SECONDS,
            "comment": _NOTE,
        }
        path = f"/zones/{zone}/dns_records"
        made = await self._api.call("POST", path, needs="DNS: Edit", body=body)
        return f"{zone}/{_identifier(made)}"

    async def remove(self, identifier: str) -> None:
        """Remove a record; one that is gone already is no error."""
        zone, _, record = identifier.partition("/")
        path = f"/zones/{zone}/dns_records/{record}"
        try:
            await self._api.call("DELETE", path, needs="DNS: Edit")
        except Missing:
            return

    async def _zone_of(self, name: str) -> str:
        """Find the zone of a name: the longest of its ends that is one."""
        if self._zone is not None:
            return self._zone
        labels = name.removeprefix("_acme-challenge.").split(".")
        for first in range(len(labels) - 1):
            end = ".".join(labels[first:])
            if end not in self._zones:
                query = {"name": end}
                found = await self._api.call("GET", "/zones", needs="Zone: Read", query=query)
                there = isinstance(found, list) and found
                self._zones[end] = _identifier(found[0]) if there else ""
            if self._zones[end]:
                return self._zones[end]
        raise Missing(
            f"Cloudflare knows no zone of {name} that the token can see: set CLOUDFLARE_ZONE_ID, "
            "or give the token Zone: Read and DNS: Edit of that zone"
        )


class OriginCa:
    """Certificates that only Cloudflare trusts, for a server that stands behind its edge.

    Args:
        api: how to call; the token needs SSL and Certificates: Edit.
        days: for how long to issue.
        zone_id: where to look for a certificate that is to be revoked.
    """

    method = "cloudflare"

    def __init__(self, api: Api, *, days: int = 365, zone_id: str | None = None) -> None:
        self._api = api
        self._days = days
        self._zone = zone_id

    async def issue(self, wanted: Wanted, *, replaces: Certificate | None) -> Issued:  # noqa: ARG002 - an ACME notion
        """Send a request, and return the certificate, which has no chain."""
        if wanted.key_type == "ec384":
            raise SettingsError(
                "the Origin CA has no P-384 keys: set tls.key_type to ec256 or rsa2048"
            )
        key = certificate.make_key(wanted.key_type)
        request = certificate.make_request(wanted.names, key)
        body = {
            "csr": request.public_bytes(serialization.Encoding.PEM).decode(),
            "hostnames": list(wanted.names),
            "request_type": "origin-rsa" if wanted.key_type.startswith("rsa") else "origin-ecc",
            "requested_validity": self._days,
        }
        made = await self._api.call(
            "POST", "/certificates", needs="SSL and Certificates: Edit", body=body
        )
        pem = made.get("certificate") if isinstance(made, dict) else None
        if not isinstance(pem, str):
            raise Corrupt("Cloudflare said that it issued a certificate, but sent none")
        return Issued(pem.encode(), certificate.key_pem(key))

    async def advice(self, current: Certificate, now: datetime) -> Advice | None:  # noqa: ARG002 - it gives none
        """The Origin CA gives none: its certificates live long."""
        return None

    async def revoke(self, found: Certificate, *, reason: int) -> None:  # noqa: ARG002 - it asks for none
        """Revoke `found`, which is looked up by its text."""
        if self._zone is None:
            raise SettingsError("set CLOUDFLARE_ZONE_ID: the Origin CA lists certificates by zone")
        identifier = await self._lookup(found)
        path = f"/certificates/{identifier}"
        await self._api.call("DELETE", path, needs="SSL and Certificates: Edit")

    async def _lookup(self, wanted: Certificate) -> str:
        for page in range(1, _PAGES + 1):
            query = {"zone_id": str(self._zone), "page": str(page), "per_page": "50"}
            listed = await self._api.call(
                "GET", "/certificates", needs="SSL and Certificates: Read", query=query
            )
            if not isinstance(listed, list) or not listed:
                break
            for entry in listed:
                if _same(entry, wanted):
                    return _identifier(entry)
        raise Missing(
            "Cloudflare's zone has no such certificate: it was revoked already, or expired"
        )


def _same(entry: Any, wanted: Certificate) -> bool:
    try:
        return certificate.load(entry["certificate"].encode()).fingerprint == wanted.fingerprint
    except (Corrupt, KeyError, TypeError, AttributeError):
        return False


def _identifier(entry: Any) -> str:
    found = entry.get("id") if isinstance(entry, dict) else None
    if not isinstance(found, str) or not found.isalnum():
        raise Corrupt("Cloudflare's answer has no identifier")
    return found


def _parsed(data: bytes) -> dict[str, Any]:
    """Read an answer; a page of HTML, as proxies send, counts as an empty one."""
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _explained(
    status: int, headers: httpx.Headers, answer: Mapping[str, Any], what: str, needs: str
) -> InsightError:
    errors = answer.get("errors")
    texts = [
        f"{entry.get('message', '')} ({entry.get('code', '?')})"
        for entry in (errors if isinstance(errors, list) else [])
        if isinstance(entry, dict)
    ]
    said = "; ".join(texts)[:500] or f"status {status}"
    if status == httpx.codes.TOO_MANY_REQUESTS:
        wait = headers.get("Retry-After", "")
        seconds = float(wait) if wait.isdigit() else 300.0
        return RateLimited(f"Cloudflare wants us to wait {seconds:.0f} s", retry_after=seconds)
    if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        return Refused(f"Cloudflare refused {what}: {said}; the token needs {needs}")
    if status == httpx.codes.NOT_FOUND:
        return Missing(f"Cloudflare knows nothing at {what}: {said}")
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return Unavailable(f"Cloudflare is out of order: {said}", retry_after=60)
    return Refused(f"Cloudflare refused {what}: {said}")
