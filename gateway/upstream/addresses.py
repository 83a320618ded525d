"""Which addresses an upstream may have: a pure judgement, by the address that is really connected to.

Link-local addresses and those of cloud metadata services are refused always: no model is served there, and
a base URL that leads to one is a mistake or an attack. Private ones are the operator's choice
(`allow_private`). An IPv4 address inside an IPv6 one (mapped, NAT64, 6to4, Teredo) is judged as well as its
wrapping, since that is where the packets end up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address

METADATA = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, Google, Azure, OpenStack and most others
        "fd00:ec2::254",  # AWS over IPv6
        "fd20:ce::254",  # Google over IPv6
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure's wire server: a public address that never leaves the host
        "192.0.0.192",  # Oracle, classic
    )
)

_NAT64 = IPv6Network("64:ff9b::/96")
# Special-purpose blocks (IANA registries) which older patch releases of `ipaddress` still call global.
_NOT_GLOBAL = tuple(
    ip_network(text)
    for text in ("192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48", "3fff::/20", "5f00::/16")
)
_PRIVATE: tuple[tuple[str, Callable[[Address], bool]], ...] = (
    ("a loopback address", lambda address: address.is_loopback),
    ("the unspecified address", lambda address: address.is_unspecified),
    ("a multicast address", lambda address: address.is_multicast),
    ("a site-local address", lambda address: isinstance(address, IPv6Address) and address.is_site_local),
    ("a private or reserved address", lambda address: not address.is_global or address.is_reserved),
    ("a reserved address", lambda address: any(address in block for block in _NOT_GLOBAL)),
)

_REMEMBERED = 1024  # addresses: each new connection asks, nearly always of one that was judged before


@lru_cache(_REMEMBERED)
def parse(text: str) -> Address | None:
    """The address that `text` writes out, or None where it is a name. A zone (`%eth0`) is allowed."""
    try:
        return ip_address(text)
    except ValueError:
        return None


@lru_cache(_REMEMBERED)
def refusal(address: Address, *, allow_private: bool) -> str | None:
    """Why no connection may go to `address` ("a link-local address"), or None if one may."""
    reached = tuple(_reached_by(address))
    for inner in reached:
        if _plain(inner) in METADATA:
            return "a cloud metadata address"
        if inner.is_link_local:
            return "a link-local address"
    if allow_private:
        return None
    return next((kind for inner in reached for kind, applies in _PRIVATE if applies(inner)), None)


def _reached_by(address: Address) -> Iterator[Address]:
    """The address, unless it only wraps another, and every IPv4 address that packets sent to it may reach."""
    if isinstance(address, IPv4Address) or not _wraps_ipv4(address):
        yield address
    if isinstance(address, IPv4Address):
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    elif address.sixtofour is not None:
        yield address.sixtofour
    elif address.teredo is not None:
        yield from address.teredo
    elif address in _NAT64 or 1 < int(address) < 1 << 32:  # the latter: ::a.b.c.d, long deprecated
        yield IPv4Address(int(address) & 0xFFFFFFFF)


def _plain(address: Address) -> Address:
    """Without the zone, which would make equal addresses differ."""
    return IPv6Address(int(address)) if isinstance(address, IPv6Address) else address


def _wraps_ipv4(address: IPv6Address) -> bool:
    return address.ipv4_mapped is not None or address.sixtofour is not None or address in _NAT64
