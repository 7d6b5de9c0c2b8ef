"""What an address means here: its text, its group for limits, and whether a password may travel in the clear."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, Literal

Cleartext = Literal["never", "loopback", "always"] | Sequence[str]
"""`[auth] cleartext`: a word, or networks in CIDR notation."""


def host_of(address: Any) -> str:
    """The numeric address of an `IAddress`, IPv4 where it is IPv4 mapped into IPv6; "" for a unix socket."""
    host = getattr(address, "host", None)
    if host is None:
        return ""
    try:
        parsed = ip_address(host.partition("%")[0])
    except ValueError:
        return str(host)
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(parsed)


def group_of(host: str) -> str:
    """What limits count as one address: an IPv4 address, or the /64 of an IPv6 address."""
    if ":" not in host:
        return host
    return str(ip_network(f"{host}/64", strict=False))


def cleartext_policy(value: Cleartext) -> Callable[[Any], bool]:
    """A function from a peer's `IAddress` to whether it may send a password unencrypted.

    A unix socket counts as loopback. Raises `ValueError` for a network that is none.
    """
    if value == "always":
        return lambda _address: True
    if value == "never":
        return lambda _address: False
    if value == "loopback":
        return lambda address: not (host := host_of(address)) or _is_loopback(host)
    if isinstance(value, str):
        raise ValueError('it must be "never", "loopback", "always" or a list of networks')
    networks = [ip_network(network) for network in value]

    def within(address: Any) -> bool:
        try:
            parsed = ip_address(host_of(address))
        except ValueError:
            return False
        return any(parsed in network for network in networks)

    return within


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
