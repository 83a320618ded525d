"""From an origin to the addresses that a connection to it may use, in the order to try them."""

from __future__ import annotations

import asyncio
import socket

from gateway.domain.errors import AttemptFailed, FailureClass
from gateway.upstream import addresses
from gateway.upstream.port import Origin


async def resolve(loop: asyncio.AbstractEventLoop, origin: Origin) -> list[str]:
    """The permitted addresses of `origin.host`, at least one, in the resolver's order.

    Connect to these very addresses: a second look-up could answer differently. The look-up runs in the
    loop's thread pool, so a slow name server delays this call only.

    Raises:
        AttemptFailed: `connect`, where the name has no address, or none that may be connected to.
    """
    if (literal := addresses.parse(origin.host)) is not None:
        found: list[str] = [str(literal)]
    else:
        found = await _look_up(loop, origin)
    permitted, reason = [], ""
    for text in found:
        address = addresses.parse(text)
        refused = "not an address" if address is None else _refusal(address, origin)
        if refused is None:
            permitted.append(text)
        else:
            reason = reason or f"{text} is {refused}"
    if not permitted:
        raise AttemptFailed(
            FailureClass.CONNECT, f"connection to {origin.host} refused by the gateway: {reason}"
        )
    return permitted


async def _look_up(loop: asyncio.AbstractEventLoop, origin: Origin) -> list[str]:
    try:
        infos = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    except OSError as error:
        reason = error.strerror or "no such host"
        raise AttemptFailed(FailureClass.CONNECT, f"cannot resolve {origin.host}: {reason}") from error
    except UnicodeError as error:  # a label that is empty or too long, found while encoding the name
        raise AttemptFailed(FailureClass.CONNECT, f"cannot resolve {origin.host}: not a host name") from error
    return list(dict.fromkeys(str(info[4][0]) for info in infos))


def _refusal(address: addresses.Address, origin: Origin) -> str | None:
    return addresses.refusal(address, allow_private=origin.allow_private)
