"""A TCP proxy that spoils what passes: between a gateway and an upstream, or a gateway and its store.

    async with fault_proxy("127.0.0.1", upstream_port) as proxy:
        proxy.fault = Fault(cut_after=100)      # holds for connections from now on
        await proxy.refuse()                    # nothing listens there any more
        await proxy.listen()                    # as before

A fault is a value; a connection keeps the one that it began with, unless `proxy.spoil` changes them all.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

_BACKLOG = 512
_PIECE = 65536
Ending = Literal["close", "reset", "stall", "half-close"]


@dataclass(frozen=True)
class Fault:
    """What happens to the bytes of a connection. The default passes them on.

    Args:
        delay_s: how long each piece is held, in both directions; order and throughput stay.
        reset_on_request: reset as soon as the first bytes of a request have passed.
        drop_request: close as soon as a request comes, without an answer, as a server does that had just
            given the idle connection up.
        cut_after: bytes of answer that pass, over the connection's life, before `ending`.
        cut_behind: the same, by the last bytes that pass; they must come in one piece.
        ending: what comes then: "close" in good order, "reset", "stall" (connected, and silent), or
            "half-close" (its side ends, and it reads on).
        drip: the answer passes byte by byte.
        void: the peer has vanished: nothing passes and nothing is ever closed.
    """

    delay_s: float = 0.0
    reset_on_request: bool = False
    drop_request: bool = False
    cut_after: int | None = None
    cut_behind: bytes | None = None
    ending: Ending = "close"
    drip: bool = False
    void: bool = False


SOUND = Fault()


class FaultProxy:
    """What `fault_proxy` yields."""

    def __init__(self, target: tuple[str, int], context: ssl.SSLContext | None) -> None:
        self.fault = SOUND
        self.connections = 0
        self.requested = 0
        self.port = 0
        self._target = target
        self._context = context
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: list[socket.socket] = []

    def spoil(self, fault: Fault) -> None:
        """From now on, for the connections that stand, too."""
        self.fault = fault
        for link in self._links:
            link.fault = fault

    async def listen(self) -> None:
        """Accept connections, on the same port as before."""
        await self._stop_listening()
        self._server = await asyncio.start_server(
            self._connected, "127.0.0.1", self.port, ssl=self._context, backlog=_BACKLOG
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Connecting is refused, and the connections that stand are reset."""
        await self._stop_listening()
        for link in self._links:
            link.reset()

    async def swallow(self) -> None:
        """Connecting neither works nor fails: the queue of the port is full and nobody accepts."""
        await self._stop_listening()
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(0)
        self._waiting = [listener]
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            self._waiting.append(filler)

    async def close(self) -> None:
        await self._stop_listening()
        await asyncio.sleep(0)  # what was just accepted begins, so that it is ended in its own way
        for link in self._links:
            link.reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _stop_listening(self) -> None:
        for each in self._waiting:
            each.close()
        self._waiting = []
        if self._server is not None:
            self._server.close()
            self._server = None
            await asyncio.sleep(0)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        link = _Link(self, reader, writer)
        self._links.add(link)
        try:
            await link.run(*self._target)
        except asyncio.CancelledError:
            pass  # the proxy closes
        finally:
            self._links.discard(link)
            writer.close()


class _Link:
    """One connection and its other half."""

    def __init__(self, proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.fault = proxy.fault
        self._proxy = proxy
        self._reader, self._writer = reader, writer
        self._answered = 0

    def reset(self) -> None:
        """Send RST."""
        sock = self._writer.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def run(self, host: str, port: int) -> None:
        connecting = asyncio.ensure_future(asyncio.open_connection(host, port))
        try:
            target_reader, target_writer = await asyncio.shield(connecting)
        except OSError:
            self.reset()
            return
        except asyncio.CancelledError:  # what is half connected is closed too
            with contextlib.suppress(OSError):
                (await connecting)[1].close()
            raise
        there = asyncio.create_task(self._there(target_writer))
        back = asyncio.create_task(self._back(target_reader))
        try:
            await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
        finally:
            there.cancel()
            back.cancel()
            await asyncio.gather(there, back, return_exceptions=True)
            target_writer.close()

    async def _there(self, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await self._reader.read(_PIECE):
                self._proxy.requested += 1
                fault = self.fault
                if fault.void:
                    continue
                if fault.drop_request:
                    return
                await _hold(fault.delay_s)
                target.write(data)
                await target.drain()
                if fault.reset_on_request:
                    self.reset()
                    return
        if self.fault.void:
            await _for_ever()

    async def _back(self, target: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while data := await target.read(_PIECE):
                fault = self.fault
                if fault.void:
                    await _for_ever()
                await _hold(fault.delay_s)
                passes, is_cut = self._until_cut(data)
                await self._send(passes, drip=fault.drip)
                if is_cut:
                    await self._end(fault.ending)
                    return

    def _until_cut(self, data: bytes) -> tuple[bytes, bool]:
        """What of it may pass, and whether that is the end."""
        fault = self.fault
        if fault.cut_after is not None and self._answered + len(data) >= fault.cut_after:
            return data[: fault.cut_after - self._answered], True
        if fault.cut_behind is not None and fault.cut_behind in data:
            return data[: data.index(fault.cut_behind) + len(fault.cut_behind)], True
        return data, False

    async def _send(self, data: bytes, *, drip: bool) -> None:
        pieces = [data[i : i + 1] for i in range(len(data))] if drip else [data]
        for piece in pieces:
            self._writer.write(piece)
            self._answered += len(piece)
            await self._writer.drain()
            await asyncio.sleep(0)

    async def _end(self, ending: Ending) -> None:
        if ending == "reset":
            self.reset()
        elif ending == "half-close":
            self._writer.write_eof()
            await _for_ever()
        elif ending == "stall":
            await _for_ever()


async def _hold(delay_s: float) -> None:
    if delay_s:
        await asyncio.sleep(delay_s)


async def _for_ever() -> None:
    await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def fault_proxy(
    host: str, port: int, *, context: ssl.SSLContext | None = None
) -> AsyncIterator[FaultProxy]:
    """A proxy to `host`:`port` on a port of the kernel's choice; with `context` it speaks TLS."""
    proxy = FaultProxy((host, port), context)
    await proxy.listen()
    try:
        yield proxy
    finally:
        await proxy.close()
