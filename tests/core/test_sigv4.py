"""Our signatures are AWS's own library's, whatever the request."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.core import sigv4

NOW = datetime(2026, 11, 25, 10, 0, tzinfo=UTC)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)


def theirs(method: str, url: str, body: bytes, *, token: str, service: str) -> str:
    signer: Any = S3SigV4Auth if service == "s3" else SigV4Auth
    request = AWSRequest(method=method, url=url, data=body)
    if service != "s3":  # which S3's signer sends, and the others only count
        request.headers["x-amz-content-sha256"] = sigv4.sign(
            method,
            url,
            key=sigv4.Key("id", "secret"),
            region="eu-west-1",
            service=service,
            now=NOW,
            body=body,
        )["x-amz-content-sha256"]
    auth = signer(Credentials("id", "secret", token or None), service, "eu-west-1")
    with patch("botocore.auth.get_current_datetime", return_value=NOW.replace(tzinfo=None)):
        auth.add_auth(request)
    return str(request.headers["Authorization"])


@pytest.mark.parametrize("service", ["s3", "cloudfront"])
@given(
    method=st.sampled_from(["GET", "PUT", "POST", "DELETE"]),
    path=st.lists(NAMES, max_size=3),
    query=st.dictionaries(NAMES, NAMES | st.just(""), max_size=3),
    body=st.binary(max_size=50),
    token=st.sampled_from(["", "token"]),
)
def test_the_signature_is_botocores(
    *, service: str, method: str, path: list[str], query: dict[str, str], body: bytes, token: str
) -> None:
    # A part of dots is a different path to some clients; no caller of ours makes one.
    parts = [quote(part, safe="-_.~") for part in path if part.strip(".")]
    items = "&".join(
        f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in query.items()
    )
    url = f"https://host.example:8443/{'/'.join(parts)}" + (f"?{items}" if items else "")
    ours = sigv4.sign(
        method,
        url,
        key=sigv4.Key("id", "secret", token),
        region="eu-west-1",
        service=service,
        now=NOW,
        body=body,
    )
    assert ours["authorization"] == theirs(method, url, body, token=token, service=service)


def test_a_key_does_not_show_its_secrets() -> None:
    assert "hidden" not in repr(sigv4.Key("id", "hidden", "hidden too"))
