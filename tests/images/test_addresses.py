from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as some

from insight_cloud.images import is_public

PRIVATE_4 = """
127.0.0.1 127.8.9.10 0.0.0.0 0.1.2.3 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254
100.64.0.1 100.127.255.255 192.0.0.8 192.0.2.1 198.51.100.7 203.0.113.9 198.18.0.1 192.88.99.1
224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255
"""
PRIVATE_6 = """
:: ::1 fe80::1 fe80::1%eth0 fc00::1 fd12:3456::1 ff02::1 2001:db8::1 100::1 fec0::1 3fff::1 5f00::1
::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::127.0.0.1 ::ffff:0:127.0.0.1
2002:7f00:1:: 2002:a00:1:: 2002:a9fe:a9fe:: 64:ff9b::127.0.0.1 64:ff9b::10.0.0.1
64:ff9b::169.254.169.254 64:ff9b:1::10.0.0.1 2001:0:7f00:1::1 2001::1 2001:10::1 2001:20::1
2a00:1450::5efe:127.0.0.1 2a00:1450::200:5efe:10.0.0.1 2001:2::1
"""
PUBLIC = """
1.1.1.1 8.8.8.8 93.184.215.14 172.15.0.1 172.32.0.1 100.128.0.1
2606:4700::1111 2a00:1450:4001::200e ::ffff:8.8.8.8 64:ff9b::8.8.8.8
"""


@pytest.mark.parametrize("address", (PRIVATE_4 + PRIVATE_6).split())
def test_what_is_not_public_is_known(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC.split())
def test_what_is_public_is_known_too(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "0x7f000001", "2130706433", "[::1]"])
def test_what_is_no_address_is_not_public(text: str) -> None:
    assert not is_public(text)


@given(some.ip_addresses(v=4))
def test_a_private_address_is_private_however_it_is_wrapped(
    address: ipaddress.IPv4Address,
) -> None:
    if is_public(str(address)):
        return
    value = int(address)
    for wrapped in (
        ipaddress.IPv6Address(0xFFFF << 32 | value),
        ipaddress.IPv6Address(0x2002 << 112 | value << 80),
        ipaddress.IPv6Address(0x64FF9B << 96 | value),
        ipaddress.IPv6Address(0x2A001450 << 96 | 0x5EFE << 32 | value),
    ):
        assert not is_public(str(wrapped))
