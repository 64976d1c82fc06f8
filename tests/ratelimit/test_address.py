from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.core.asgi import Scope
from insight_cloud.core.errors import SettingsError
from insight_cloud.ratelimit import Addresses, cloudflare_ranges

CLOUDFLARE = "104.16.0.9"


def scope(peer: str | None, *headers: tuple[str, str]) -> Scope:
    return {
        "type": "http",
        "client": None if peer is None else (peer, 1234),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
    }


def forwarded(value: str) -> tuple[str, str]:
    return "x-forwarded-for", value


def connecting(value: str) -> tuple[str, str]:
    return "cf-connecting-ip", value


@pytest.mark.parametrize(
    ("peer", "key"),
    [
        ("203.0.113.7", "ip:203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "ip:2001:db8:1:2::/64"),
        ("::ffff:203.0.113.7", "ip:203.0.113.7"),
        ("fe80::1%eth0", "ip:fe80::/64"),
        (None, "ip:unix"),
        ("", "ip:unix"),
        ("testclient", "ip:unix"),
    ],
)
def test_a_client_is_its_address_or_its_ipv6_network(peer: str | None, key: str) -> None:
    assert Addresses()(scope(peer)) == key


def test_two_addresses_of_one_ipv6_network_are_one_client() -> None:
    of = Addresses()
    assert of(scope("2001:db8::1")) == of(scope("2001:db8::ffff:1"))
    assert of(scope("2001:db8::1")) != of(scope("2001:db8:0:1::1"))
    assert Addresses(ipv6_prefix=56)(scope("2001:db8:0:1::1")) == "ip:2001:db8::/56"


_texts = st.text(alphabet="0123456789abcdef.:,[]% x", max_size=40)


@given(_texts, _texts)
def test_without_trusted_proxies_no_header_changes_anything(first: str, second: str) -> None:
    headers = (forwarded(first), connecting(second), forwarded(second))
    assert Addresses()(scope("203.0.113.7", *headers)) == "ip:203.0.113.7"


@given(_texts)
def test_what_a_client_writes_before_our_proxys_entry_changes_nothing(forged: str) -> None:
    of = Addresses(trusted_proxies=["10.0.0.0/8"])
    told = scope("10.0.0.1", forwarded(f"{forged},203.0.113.7"), connecting(forged))
    assert of(told) == "ip:203.0.113.7"


@pytest.mark.parametrize(
    ("told", "key"),
    [
        ("203.0.113.7", "ip:203.0.113.7"),
        ("6.6.6.6, 203.0.113.7, 10.2.3.4", "ip:203.0.113.7"),
        ("203.0.113.7:8080", "ip:203.0.113.7"),
        ("[2001:db8::1]:8080", "ip:2001:db8::/64"),
        ("2001:db8::1", "ip:2001:db8::/64"),
        ("10.9.9.9, 10.2.3.4", "ip:10.9.9.9"),  # all are ours: the outermost
        ("6.6.6.6, nonsense, 10.2.3.4", "ip:10.2.3.4"),  # the last one that is certain
        ("", "ip:10.0.0.1"),
        ("6.6.6.6, 10.0.0.2," + ",".join(["10.0.0.3"] * 40), "ip:10.0.0.3"),  # bounded
    ],
)
def test_forwarded_addresses_are_walked_from_the_right(told: str, key: str) -> None:
    of = Addresses(trusted_proxies=["10.0.0.0/8"])
    assert of(scope("10.0.0.1", forwarded(told))) == key


def test_several_headers_are_one_list() -> None:
    of = Addresses(trusted_proxies=["10.0.0.0/8"])
    headers = (forwarded("6.6.6.6"), forwarded("203.0.113.7"), forwarded("10.0.0.3"))
    assert of(scope("10.0.0.1", *headers)) == "ip:203.0.113.7"


def test_a_proxy_on_a_unix_socket_is_trusted_when_it_is_named() -> None:
    told = scope(None, forwarded("203.0.113.7"))
    assert Addresses()(told) == "ip:unix"
    assert Addresses(trusted_proxies=["unix"])(told) == "ip:203.0.113.7"


def test_cloudflare_is_believed_only_from_its_own_addresses() -> None:
    of = Addresses()
    assert of(scope(CLOUDFLARE, connecting("203.0.113.7"))) == "ip:203.0.113.7"
    assert of(scope("198.51.100.1", connecting("203.0.113.7"))) == "ip:198.51.100.1"
    assert Addresses(cloudflare=())(scope(CLOUDFLARE, connecting("203.0.113.7"))) == (
        f"ip:{CLOUDFLARE}"
    )


def test_cloudflare_is_believed_behind_our_own_proxy() -> None:
    of = Addresses(trusted_proxies=["10.0.0.0/8"])
    headers = (forwarded(f"203.0.113.7, {CLOUDFLARE}"), connecting("203.0.113.7"))
    assert of(scope("10.0.0.1", *headers)) == "ip:203.0.113.7"
    forged = (forwarded(f"{CLOUDFLARE}, 198.51.100.1"), connecting("203.0.113.7"))
    assert of(scope("10.0.0.1", *forged)) == "ip:198.51.100.1"


def test_two_connecting_addresses_are_none() -> None:
    headers = (connecting("203.0.113.7"), connecting("6.6.6.6"))
    assert Addresses()(scope(CLOUDFLARE, *headers)) == f"ip:{CLOUDFLARE}"


def test_the_published_ranges_are_networks_of_both_families() -> None:
    families = {ipaddress.ip_network(text).version for text in cloudflare_ranges()}
    assert families == {4, 6}


def test_a_proxy_that_is_no_network_is_refused_at_the_start() -> None:
    with pytest.raises(SettingsError, match="trusted proxies"):
        Addresses(trusted_proxies=["10.0.0.0/99"])
