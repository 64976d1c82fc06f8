"""Where a webhook may lead."""

from __future__ import annotations

import pytest

from insight_cloud.app.webhooks import address
from insight_cloud.core.errors import Invalid


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "192.0.0.8", "192.0.2.1", "198.18.0.1", "203.0.113.9",
        "224.0.0.1", "240.0.0.1", "255.255.255.255",
        "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1",
        "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::",
        "2002:a00:1::", "2001:0:7f00:1::1", "", "localhost", "127.1", "0x7f.1", "2130706433",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public_is_refused(text: str) -> None:
    assert not address.is_public(text)


@pytest.mark.parametrize("text", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111"])
def test_a_public_address_is_let_pass(text: str) -> None:
    assert address.is_public(text)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/", "ftp://example.com/", "https://", "https:///x", "example.com/x",
        "https://user@example.com/", "https://user:pass@example.com/", "https://example.com:0/",
        "https://example.com:99999/", "https://127.0.0.1/", "https://[::1]/", "https://10.0.0.1/",
        "https://exa\nmple.com/", "https://exämple.com/", "https://example.com/" + "x" * 2000,
        "javascript:alert(1)", "file:///etc/passwd", "",
    ],
)  # fmt: skip
def test_a_url_that_cannot_be_a_webhook_is_refused(url: str) -> None:
    with pytest.raises(Invalid) as refused:
        address.check_url(url, allow_private=False)
    assert refused.value.problems[0][0] == "/body/url"


def test_an_operator_may_allow_the_own_network() -> None:
    for url in ("http://127.0.0.1:8080/x", "https://10.0.0.1/", "http://builder.internal/"):
        assert address.check_url(f" {url} ", allow_private=True) == url
    assert address.check_url("https://example.com/x?y=z", allow_private=False)
