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
        self.hear: Callable[[bytes], None] = self.writes.append
        self.wire = wire
        self._loop = loop
        self._is_cut = False

    def write(self, data: bytes) -> None:
        self.hear(data)

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


class ScriptedNode(ScriptedAddress):
    """A node of a `ScriptedCluster`: it tells the cluster's map, and answers all else as it is told.

    `replies` are its next answers, one a command; afterwards it says `+OK`. None is no answer: neither to
    that command nor to any after it on the same connection.
    """

    def __init__(self, cluster: ScriptedCluster, host: str, port: int) -> None:
        super().__init__()
        self.host, self.port = host, port
        self.scheme, self.host_and_port = "redis", f"{host}:{port}"
        self.replies: list[bytes | None] = []
        self.heard: list[list[list[bytes]]] = []
        self.looks = 0
        self._cluster = cluster

    def at(self, host: str, port: int) -> ScriptedNode:
        return self._cluster.node(host, port)

    def _greet(self, transport: ScriptedTransport) -> None:
        super()._greet(transport)
        reader = hiredis.Reader(notEnoughData=...)
        transport.hear = lambda data: self._hear(transport, reader, data)

    def _hear(self, transport: ScriptedTransport, reader: hiredis.Reader, data: bytes) -> None:
        reader.feed(data)
        commands = []
        while (command := reader.gets()) is not ...:
            commands.append(command)
        own = [command for command in commands if command[0] != b"CLUSTER"]
        if own:
            self.heard.append(own)
        asyncio.get_running_loop().call_soon(self._answer, transport, commands)

    def _answer(self, transport: ScriptedTransport, commands: list[list[bytes]]) -> None:
        for command in commands:
            if command == [b"CLUSTER", b"INFO"]:
                self.looks += 1
                reply: bytes | None = self._cluster.info
            elif command == [b"CLUSTER", b"SLOTS"]:
                reply = self._cluster.slots
            else:
                reply = self.replies.pop(0) if self.replies else b"+OK\r\n"
            if reply is None:
                transport.hear = lambda _: None  # nothing is heard any more
                return
            transport.says(reply)


class ScriptedCluster:
    """Stands for a `ClusterAddress`. `owners` is the map that every node tells: first slot, last, node."""

    def __init__(self, *owners: tuple[int, int, tuple[str, int]]) -> None:
        self.owners = list(owners)
        self.is_ok = True
        self.epoch = 1
        self.nodes: dict[tuple[str, int], ScriptedNode] = {}

    @property
    def seeds(self) -> tuple[ScriptedNode, ...]:
        return (self.node("a", 1),)

    def node(self, host: str, port: int) -> ScriptedNode:
        if (host, port) not in self.nodes:
            self.nodes[host, port] = ScriptedNode(self, host, port)
        return self.nodes[host, port]

    @property
    def info(self) -> bytes:
        state = "ok" if self.is_ok else "fail"
        text = f"cluster_state:{state}\r\ncluster_current_epoch:{self.epoch}\r\n"
        return f"${len(text)}\r\n{text}\r\n".encode()

    @property
    def slots(self) -> bytes:
        rows = [
            f"*3\r\n:{first}\r\n:{last}\r\n*3\r\n${len(host)}\r\n{host}\r\n:{port}\r\n$2\r\nid\r\n"
            for first, last, (host, port) in self.owners
        ]
        return f"*{len(rows)}\r\n{''.join(rows)}".encode()

    def __str__(self) -> str:
        return "scripted+cluster://"
