"""A server on raw sockets that does what a test says, byte by byte.

    async def script(peer):
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\\r\\n", b"content-length: 2\\r\\n\\r\\nh")
        peer.reset()

    async with serving(script) as server:
        response = await transport.send(request_to(server.origin))

The n-th connection plays the n-th script, later ones the last. A script that ends closes its connection in
good order, and so does one that waits for a request, or sends, when the client has left; one that should
leave it open awaits `peer.gone()`. A script that fails makes the test fail.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

from gateway.upstream.port import Origin

_Done = TypeVar("_Done")
Script = Callable[["Peer"], Awaitable[None]]

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


class ClientGoneError(Exception):
    """The client left where a script needed it."""


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._buffer = b""
        self.requests: list[bytes] = []
        self.is_gone = False

    async def receive(self, limit: int = 65536) -> bytes:
        """What comes next, b"" at the end. Nothing is read from the socket unless this is awaited."""
        try:
            return await self._loop.sock_recv(self._sock, limit)
        except ConnectionError:
            return b""

    async def head(self) -> bytes:
        """The next request's head; its body stays unread."""
        while b"\r\n\r\n" not in self._buffer:
            data = await self.receive()
            if not data:
                raise ClientGoneError
            self._buffer += data
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    async def request(self) -> bytes:
        """The next request, whole."""
        head = await self.head()
        length = _LENGTH.search(head)
        size = int(length[1]) if length else 0
        while len(self._buffer) < size:
            data = await self.receive(1 << 20)
            if not data:
                raise ClientGoneError
            self._buffer += data
        request = head + self._buffer[:size]
        self._buffer = self._buffer[size:]
        self.requests.append(request)
        return request

    async def send(self, *parts: bytes) -> None:
        """Send the parts one after another, each in a packet of its own as far as the kernel obeys."""
        for part in parts:
            try:
                await self._loop.sock_sendall(self._sock, part)
            except ConnectionError:
                raise ClientGoneError from None
            await asyncio.sleep(0)

    async def trickle(self, data: bytes) -> None:
        """Send byte by byte."""
        await self.send(*(data[i : i + 1] for i in range(len(data))))

    def send_now(self, data: bytes) -> int:
        """Send what fits into the kernel's buffers; the number of bytes that did."""
        with suppress(BlockingIOError):
            return self._sock.send(data)
        return 0

    async def gone(self) -> None:
        """Wait until the client has closed, dropping what it sends."""
        while await self.receive():
            pass
        self.is_gone = True

    async def start_tls(self, context: ssl.SSLContext) -> TlsPeer:
        """Go on above TLS."""
        above = TlsPeer(self._sock, context)
        await above.handshake()
        return above

    def half_close(self) -> None:
        """Send FIN; the connection can still be read."""
        self._sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Send RST; nothing can follow."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def close(self) -> None:
        """Close in good order."""
        self._sock.close()


class TlsPeer(Peer):
    """The same above TLS."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(sock)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    async def handshake(self) -> None:
        await self._drive(self._tls.do_handshake)

    async def receive(self, limit: int = 65536) -> bytes:
        return await self._drive(lambda: self._tls.read(limit)) or b""

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self._tls.write(part)
            await self._flush()
            await asyncio.sleep(0)

    async def end_tls(self) -> None:
        """Send close_notify."""
        with suppress(ssl.SSLError):
            self._tls.unwrap()
        await self._flush()

    async def _drive(self, step: Callable[[], _Done]) -> _Done | None:
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                await self._flush()
                data = await super().receive()
                if not data:
                    return None
                self._incoming.write(data)
            except ssl.SSLZeroReturnError:
                return None
            else:
                await self._flush()
                return done

    async def _flush(self) -> None:
        if data := self._outgoing.read():
            await super().send(data)


class ScriptedServer:
    """What `serving` yields."""

    def __init__(
        self, listener: socket.socket, scripts: tuple[Script, ...], context: ssl.SSLContext | None
    ) -> None:
        self._listener = listener
        self._scripts = scripts
        self._context = context
        self.peers: list[Peer] = []
        self.tasks: list[asyncio.Task[None]] = []
        name = listener.getsockname()
        if listener.family == socket.AF_UNIX:
            self.origin = Origin("unix", name, 0)
        else:
            self.origin = Origin("http" if context is None else "https", name[0], name[1])

    @property
    def port(self) -> int:
        return self.origin.port

    def named(self, host: str) -> Origin:
        """The same server under a name."""
        return Origin(self.origin.scheme, host, self.port)

    async def accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(self._listener)
            sock.setblocking(False)
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer = Peer(sock) if self._context is None else TlsPeer(sock, self._context)
            script = self._scripts[min(len(self.peers), len(self._scripts) - 1)]
            self.peers.append(peer)
            self.tasks.append(loop.create_task(self._play(script, peer)))

    async def _play(self, script: Script, peer: Peer) -> None:
        try:
            if isinstance(peer, TlsPeer):
                try:
                    await peer.handshake()
                except (ssl.SSLError, OSError):
                    return  # the client did not like us
            await script(peer)
        except ClientGoneError:
            peer.is_gone = True
        finally:
            peer.close()

    async def finish(self) -> None:
        """Stop scripts that wait; raise what a script raised."""
        for task in self.tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self.tasks, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, asyncio.CancelledError):
                raise outcome


@asynccontextmanager
async def serving(
    *scripts: Script,
    host: str = "127.0.0.1",
    port: int = 0,
    path: Path | None = None,
    context: ssl.SSLContext | None = None,
    receive_buffer: int | None = None,
) -> AsyncIterator[ScriptedServer]:
    """Serve the scripts at a port of the kernel's choice, or at a unix socket.

    Args:
        receive_buffer: bytes the kernel may take from the client before a script reads them.
    """
    listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET, socket.SOCK_STREAM)
    listener.setblocking(False)
    if receive_buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    listener.bind(str(path) if path else (host, port))
    listener.listen(512)
    server = ScriptedServer(listener, scripts, context)
    accepting = asyncio.get_running_loop().create_task(server.accept())
    try:
        yield server
    finally:
        accepting.cancel()
        await asyncio.gather(accepting, return_exceptions=True)
        listener.close()
        await server.finish()


@asynccontextmanager
async def black_hole(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
    """A port where connecting neither works nor fails: its queue is full and nobody accepts."""
    listener = socket.socket()
    listener.bind((host, port))
    listener.listen(0)
    waiting = []
    try:
        for _ in range(4):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
            waiting.append(sock)
        yield listener.getsockname()[1]
    finally:
        for sock in (*waiting, listener):
            sock.close()
