"""From where a request comes, as far as attempts with wrong keys are counted."""

from __future__ import annotations

import ipaddress

UNKNOWN = "unknown"
"""Stands for a peer without an address, such as that of a unix socket."""


def origin_of(client: tuple[str, int] | None) -> str:
    """The peer's address, for IPv6 its /64: whoever has one of these has all of them.

    It is the connection's own, never what a header says: behind a proxy all callers have the proxy's.
    """
    if client is None:
        return UNKNOWN
    try:
        address = ipaddress.ip_address(client[0].partition("%")[0])
    except ValueError:
        return UNKNOWN
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False))
