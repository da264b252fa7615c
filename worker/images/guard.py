"""Which addresses may be reached. PURE: no sockets, no names looked up, no clock.

Two questions, asked for each hop of a redirect: may this URL be followed at all (scheme, host, port), and may this
numeric address be connected to. A refusal is the name of the rule, never a word about what lies behind.

Sources: IANA's special-purpose address registries (RFC 6890) for IPv4 and IPv6; RFC 4291 (IPv6 forms), RFC 3056 (6to4),
RFC 4380 (Teredo), RFC 5214 (ISATAP), RFC 6052 and RFC 8215 (NAT64).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_BLOCKED: tuple[tuple[str, str], ...] = (
    ("0.0.0.0/8", "this-network"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "carrier-grade-nat"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "protocol-assignment"),
    ("192.0.2.0/24", "documentation"),
    ("192.88.99.0/24", "6to4-relay"),
    ("192.168.0.0/16", "private"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("::ffff:0:0/96", "ipv4-mapped"),
    ("::/96", "ipv4-compatible"),
    ("64:ff9b::/96", "nat64"),
    ("64:ff9b:1::/48", "nat64-local"),
    ("2001::/32", "teredo"),
    ("2001:db8::/32", "documentation"),
    ("2001::/23", "protocol-assignment"),
    ("2002::/16", "6to4"),
    ("3fff::/20", "documentation"),
    ("fc00::/7", "unique-local"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("ff00::/8", "multicast"),
)
_BLOCKED_NETWORKS: tuple[tuple[Network, str], ...] = tuple((ip_network(network), rule) for network, rule in _BLOCKED)
_GLOBAL_UNICAST_V6 = IPv6Network("2000::/3")

_METADATA: frozenset[Address] = frozenset(
    ip_address(address)
    for address in (
        "169.254.169.254",  # most clouds
        "169.254.170.2",  # Amazon ECS: credentials of the task
        "169.254.170.23",  # Amazon EKS: credentials of the pod
        "168.63.129.16",  # Azure: a public address, answered inside
        "100.100.100.200",  # Alibaba
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",  # Google
    )
)


@dataclass(frozen=True)
class Guard:
    """The policy. `deny_*` wins over `allow_*`, and both over what is blocked by default."""

    schemes: frozenset[str]
    ports: frozenset[int]
    allow_hosts: tuple[str, ...] = ()
    deny_hosts: tuple[str, ...] = ()
    allow_networks: tuple[Network, ...] = ()
    deny_networks: tuple[Network, ...] = ()

    def refuse_url(self, scheme: str, host: str, port: int | None) -> str | None:
        """The rule that forbids to follow a URL of this scheme, host and port; None where none does."""
        if scheme not in self.schemes:
            return "scheme"
        if port not in self.ports:
            return "port"
        name = _canonical(host)
        if _covered(name, self._denied_hosts):
            return "deny_hosts"
        if self.allow_hosts and not _covered(name, self._allowed_hosts):
            return "allow_hosts"
        return None

    def refuse_address(self, numeric: str) -> str | None:
        """The rule that forbids to connect to a numeric address, as it stands in a socket address; None if none does.

        A zone (`%eth0`) is left out of account. What is no numeric address is forbidden.
        """
        try:
            address = ip_address(numeric.partition("%")[0])
        except ValueError:
            return "not-numeric"
        if _within(address, self.deny_networks):
            return "deny_networks"
        if address in _METADATA:
            return None if ip_network(address) in self.allow_networks else "cloud-metadata"
        if _within(address, self.allow_networks):
            return None
        return blocked_by_default(address)

    @cached_property
    def _allowed_hosts(self) -> tuple[str, ...]:
        return tuple(map(_canonical, self.allow_hosts))

    @cached_property
    def _denied_hosts(self) -> tuple[str, ...]:
        return tuple(map(_canonical, self.deny_hosts))


def blocked_by_default(address: Address) -> str | None:
    """The rule that blocks an address where no setting says otherwise: everything but global unicast."""
    for network, rule in _BLOCKED_NETWORKS:
        if address in network:
            return rule
    if isinstance(address, IPv6Address):
        if address not in _GLOBAL_UNICAST_V6:
            return "not-global"
        if _is_isatap(address):
            return "isatap"
    return None if address.is_global else "not-global"


def _is_isatap(address: IPv6Address) -> bool:
    """Whether the interface identifier is `[02]00:5efe:a.b.c.d`, which hides an IPv4 address under any prefix."""
    return (int(address) >> 32) & 0xFDFF_FFFF == 0x0000_5EFE


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def _canonical(host: str) -> str:
    return host.rstrip(".").lower()


def _covered(name: str, hosts: tuple[str, ...]) -> bool:
    """Whether a name is one of the hosts or lies below one, at a dot."""
    return any(name == host or name.endswith(f".{host}") for host in hosts)
