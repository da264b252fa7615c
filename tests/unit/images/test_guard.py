"""The guard's tables: what may be followed, and what may be connected to."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from worker.images.guard import Guard

PUBLIC = Guard(frozenset({"http", "https"}), frozenset({80, 443}))

FORBIDDEN_TABLE = """
0.0.0.0 0.1.2.3 0.255.255.255 10.0.0.0 10.0.0.1 10.255.255.255 100.64.0.0 100.64.0.1 100.100.100.200 100.127.255.255
127.0.0.0 127.0.0.1 127.0.1.1 127.127.127.127 127.255.255.255 169.254.0.1 169.254.169.254 169.254.170.2 169.254.170.23
169.254.255.255 172.16.0.0 172.16.0.1 172.20.10.2 172.31.255.255 192.0.0.0 192.0.0.1 192.0.0.8 192.0.0.9 192.0.0.10
192.0.0.170 192.0.0.192 192.0.2.1 192.88.99.1 192.168.0.0 192.168.0.1 192.168.255.255 198.18.0.1 198.19.255.255
198.51.100.7 203.0.113.7 224.0.0.1 224.0.0.251 233.252.0.1 239.255.255.250 240.0.0.1 254.1.2.3 255.255.255.254
255.255.255.255 168.63.129.16
:: ::1 ::2 ::7f00:1 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:7f00:1 ::ffff:10.0.0.1 ::ffff:169.254.169.254
::ffff:8.8.8.8 ::ffff:0:127.0.0.1 64:ff9b::7f00:1 64:ff9b::10.0.0.1 64:ff9b::8.8.8.8 64:ff9b:1::1 64:ff9b:1:ffff::a00:1
100::1 2001::1 2001:0:7f00:1::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:2::1 2001:10::1 2001:20::1 2001:1ff::1
2001:db8::1 2002::1 2002:7f00:1::1 2002:a00:1:: 2002:808:808::1 3fff::1 5f00::1 fc00::1 fd00::1 fd00:ec2::254
fd00:ec2::23 fd20:ce::254 fdff:ffff::1 fe80::1 fe80::1%eth0 fe80::1%2 febf::1 fec0::1 feff::1 ff00::1 ff02::1 ff05::2
ff0e::1 4000::1 8000::1 e000::1 2a00:1450::5efe:7f00:1 2a00:1450::200:5efe:a00:1 2600::5efe:192.168.0.1
::1%lo 127.0.0.1%lo
"""

ALLOWED_TABLE = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 168.63.129.15
168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.1 192.167.255.255 192.169.0.0
198.17.255.255 198.20.0.0 223.255.255.255 2001:4860:4860::8888 2606:4700:4700::1111 2a00:1450:4001:80b::200e
2400:cb00::1 2620:fe::fe
"""

NO_ADDRESS = ["", "localhost", "127.1", "2130706433", "0x7f000001", "017700000001", "127.0.0.1.", "[::1]", "1.2.3.256"]


def test_the_tables_are_long_enough_to_mean_something() -> None:
    assert len(set(FORBIDDEN_TABLE.split())) >= 100


@pytest.mark.parametrize("address", FORBIDDEN_TABLE.split())
def test_what_is_not_global_unicast_is_refused(address: str) -> None:
    assert PUBLIC.refuse_address(address) is not None


@pytest.mark.parametrize("address", ALLOWED_TABLE.split())
def test_public_addresses_are_reached(address: str) -> None:
    assert PUBLIC.refuse_address(address) is None


@pytest.mark.parametrize("spelling", NO_ADDRESS)
def test_what_is_no_numeric_address_is_refused(spelling: str) -> None:
    assert PUBLIC.refuse_address(spelling) == "not-numeric"


def with_networks(allow: str = "", deny: str = "") -> Guard:
    networks = [tuple(ip_network(network) for network in names.split()) for names in (allow, deny)]
    return Guard(PUBLIC.schemes, PUBLIC.ports, allow_networks=networks[0], deny_networks=networks[1])


@pytest.mark.parametrize(
    ("allow", "deny", "address", "rule"),
    [
        ("10.20.0.0/16", "", "10.20.3.4", None),
        ("10.20.0.0/16", "", "10.21.3.4", "private"),
        ("10.20.0.0/16", "10.20.3.0/24", "10.20.3.4", "deny_networks"),
        ("", "8.8.8.0/24", "8.8.8.8", "deny_networks"),
        ("127.0.0.0/8", "", "::ffff:127.0.0.1", "ipv4-mapped"),
        ("169.254.0.0/16", "", "169.254.169.254", "cloud-metadata"),
        ("0.0.0.0/0", "", "168.63.129.16", "cloud-metadata"),
        ("169.254.169.254/32", "", "169.254.169.254", None),
        ("::/0", "", "fd00:ec2::254", "cloud-metadata"),
        ("fd12::/16", "", "fd12::1", None),
    ],
)
def test_networks_open_and_close_what_they_name(allow: str, deny: str, address: str, rule: str | None) -> None:
    assert with_networks(allow, deny).refuse_address(address) == rule


@pytest.mark.parametrize(
    ("scheme", "host", "port", "rule"),
    [
        ("http", "example.com", 80, None),
        ("https", "example.com", 443, None),
        ("ftp", "example.com", 80, "scheme"),
        ("file", "example.com", 80, "scheme"),
        ("http", "example.com", 22, "port"),
        ("http", "example.com", None, "port"),
    ],
)
def test_scheme_and_port_must_be_agreed(scheme: str, host: str, port: int | None, rule: str | None) -> None:
    assert PUBLIC.refuse_url(scheme, host, port) == rule


@pytest.mark.parametrize(
    ("host", "rule"),
    [
        ("example.com", None),
        ("EXAMPLE.com.", None),
        ("img.example.com", None),
        ("badexample.com", "allow_hosts"),
        ("example.com.evil.net", "allow_hosts"),
        ("private.example.com", "deny_hosts"),
        ("a.private.example.com.", "deny_hosts"),
        ("notprivate.example.com", None),
    ],
)
def test_hosts_are_told_apart_at_the_dots(host: str, rule: str | None) -> None:
    guard = Guard(PUBLIC.schemes, PUBLIC.ports, allow_hosts=("example.com",), deny_hosts=("Private.example.com.",))
    assert guard.refuse_url("https", host, 443) == rule
