"""AWS's Signature Version 4, for the few calls that our object store library does not make.

It follows "Create a signed AWS API request" of the IAM user guide. Pure: the time is given.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import parse_qsl, quote, urlsplit

__all__ = ["Key", "sign"]

_ALGORITHM = "AWS4-HMAC-SHA256"
_SAFE = "-_.~"


@dataclass(frozen=True, slots=True)
class Key:
    """An access key: its identifier, the secret, and the token of temporary credentials."""

    identifier: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)


def sign(
    method: str,
    url: str,
    *,
    key: Key,
    region: str,
    service: str,
    now: datetime,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return `headers` and those that authenticate the request; send them unchanged.

    The path of `url` is percent-encoded already, and its query is sent as it stands.
    """
    parts = urlsplit(url)
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(body).hexdigest()
    signed = {name.lower(): " ".join(value.split()) for name, value in (headers or {}).items()}
    signed |= {"host": parts.netloc, "x-amz-date": stamp, "x-amz-content-sha256": digest}
    if key.token:
        signed["x-amz-security-token"] = key.token
    names = ";".join(sorted(signed))
    request = "\n".join(
        [
            method,
            _path(parts.path, service),
            _query(parts.query),
            *(f"{name}:{signed[name]}" for name in sorted(signed)),
            "",
            names,
            digest,
        ]
    )
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    text = "\n".join([_ALGORITHM, stamp, scope, hashlib.sha256(request.encode()).hexdigest()])
    signature = hmac.new(_derived(key.secret, scope), text.encode(), hashlib.sha256).hexdigest()
    signed["authorization"] = (
        f"{_ALGORITHM} Credential={key.identifier}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    return signed


def _path(path: str, service: str) -> str:
    """Every service but S3 wants the path encoded once more than it is sent."""
    path = path or "/"
    return path if service == "s3" else quote(path, safe=f"/{_SAFE}")


def _query(query: str) -> str:
    pairs = parse_qsl(query, keep_blank_values=True)
    encoded = sorted((quote(name, safe=_SAFE), quote(value, safe=_SAFE)) for name, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)


def _derived(secret: str, scope: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
