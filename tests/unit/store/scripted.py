"""A lane whose server is a script: what it gets and what it says is in the test's hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import hiredis

from gateway.store.wire import Wire

GREETED = b"+OK\r\n+PONG\r\n"


class ScriptedTransport:
    """The far end of one connection."""

    def __init__(self, wire: Wire, loop: asyncio.AbstractEventLoop) -> None:
        self.writes: list[bytes] = []
        self.wire = wire
        self._loop = loop
        self._is_cut = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def abort(self) -> None:
        self.cut()

    def cut(self) -> None:
        """End the connection, as the server or the network would."""
        if not self._is_cut:
            self._is_cut = True
            self._loop.call_soon(self.wire.connection_lost, None)

    def says(self, data: bytes) -> None:
        self.wire.data_received(data)

    def get_extra_info(self, _name: str) -> Any:
        return None

    @property
    def heard(self) -> list[Any]:
        """The commands received since the last look."""
        reader = hiredis.Reader(notEnoughData=...)
        reader.feed(b"".join(self.writes))
        self.writes.clear()
        commands = []
        while (command := reader.gets()) is not ...:
            commands.append(command)
        return commands


@dataclass
class ScriptedAddress:
    """Stands for `Address`: every connect gives a new `ScriptedTransport`, which greets as `greets` says."""

    greets: bytes = GREETED
    refuses: Exception | None = None
    greeting: list[Any] = field(default_factory=lambda: [("CLIENT", "SETNAME", "tunegate"), ("PING",)])
    transports: list[ScriptedTransport] = field(default_factory=list)

    async def connect(self, protocol: Callable[[], Wire]) -> Wire:
        if self.refuses is not None:
            raise self.refuses
        loop = asyncio.get_running_loop()
        wire = protocol()
        transport = ScriptedTransport(wire, loop)
        wire.connection_made(transport)  # type: ignore[arg-type]  # all that a wire uses of a transport
        self.transports.append(transport)
        loop.call_later(0, self._greet, transport)
        return wire

    def _greet(self, transport: ScriptedTransport) -> None:
        if self.greets:
            transport.says(self.greets)
        transport.writes.clear()

    def __str__(self) -> str:
        return "scripted://"
