"""From an origin to the addresses that a connection to it may use, in the order to try them."""

from __future__ import annotations

import asyncio
import socket

from gateway.domain.errors import AttemptFailed, FailureClass
from gateway.upstream import addresses
from gateway.upstream.port import Origin


class Resolver:
    """Looks names up for one transport. A name that is being looked up is not looked up a second time.

    The loop has few threads for this, and nobody can call one back: without that, the calls of one upstream
    whose name server hangs would take them all, and no other upstream's name could be resolved.
    """

    def __init__(self) -> None:
        self._running: dict[tuple[str, int], asyncio.Task[list[str]]] = {}

    async def resolve(self, loop: asyncio.AbstractEventLoop, origin: Origin) -> list[str]:
        """The permitted addresses of `origin.host`, at least one, in the resolver's order.

        Connect to these very addresses: a second look-up could answer differently. The look-up runs in the
        loop's thread pool, so a slow name server delays this call only.

        Raises:
            AttemptFailed: `connect`, where the name has no address, or none that may be connected to.
        """
        if (literal := addresses.parse(origin.host)) is not None:
            found: list[str] = [str(literal)]
        else:
            found = await self._found(loop, origin)
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

    def close(self) -> None:
        """Wait for no name any more."""
        for task in self._running.values():
            task.cancel()

    async def _found(self, loop: asyncio.AbstractEventLoop, origin: Origin) -> list[str]:
        name = origin.host, origin.port
        task = self._running.get(name)
        if task is None:
            task = self._running[name] = asyncio.ensure_future(_look_up(loop, origin))
            task.add_done_callback(lambda done: self._over(name, done))
        try:
            return list(await asyncio.shield(task))  # whoever gives up waiting leaves it to the others
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
            reason = f"cannot resolve {origin.host}: the gateway is stopping"
            raise AttemptFailed(FailureClass.CONNECT, reason) from None

    def _over(self, name: tuple[str, int], task: asyncio.Task[list[str]]) -> None:
        del self._running[name]
        if not task.cancelled():
            task.exception()  # told to those who wait; where nobody does any more it is of no interest


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
