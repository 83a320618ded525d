"""The transports of a process, by their configured names."""

from __future__ import annotations

import asyncio

from gateway.upstream.http1.transport import Http1Transport
from gateway.upstream.port import Transport


class Transports(dict[str, Transport]):
    """`http1`, and `httpx` once an upstream wants it: few do, and httpx2 is slow to load.

    Args:
        loop: the event loop; by default that of the first request.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        super().__init__(http1=Http1Transport(loop))

    def __missing__(self, name: str) -> Transport:
        if name != "httpx":
            raise KeyError(name)
        from gateway.upstream.via_httpx import HttpxTransport  # noqa: PLC0415  # see above

        transport = self[name] = HttpxTransport()
        return transport

    async def aclose(self) -> None:
        """Close every connection of all of them."""
        for transport in self.values():
            await transport.aclose()
