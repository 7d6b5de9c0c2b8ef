"""Where an account, or one password of it, may be used from."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network


def admits(networks: Iterable[Network], address: str) -> bool:
    """Whether `address`, numeric, lies in one of them; "" and what is no address lie nowhere."""
    try:
        numeric = ip_address(address)
    except ValueError:
        return False
    if isinstance(numeric, IPv6Address) and numeric.ipv4_mapped is not None:
        numeric = numeric.ipv4_mapped
    return any(numeric in network for network in networks)
