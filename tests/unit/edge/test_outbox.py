"""What streams send leaves at the end of a turn of the loop, whatever became of one of them."""

import asyncio
from typing import Any

import pytest

from gateway.edge.outbox import Outbox


class Socket:
    def __init__(self, *, is_broken: bool = False) -> None:
        self.written: list[bytes] = []
        self.is_broken = is_broken

    def write(self, data: bytes) -> None:
        if self.is_broken:
            raise RuntimeError("a bug")
        self.written.append(data)


class Stream:
    def __init__(self, outbox: Outbox, socket: Socket) -> None:
        self.outbox = outbox
        self.transport: Any = socket
        self.unsent = b""
        self.disconnected = False

    def write(self, data: bytes) -> None:
        if not self.unsent:
            self.outbox.enter(self)
        self.unsent += data


async def turn() -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_what_one_stream_sends_in_a_turn_is_one_write() -> None:
    outbox, sockets = Outbox(), [Socket(), Socket()]
    streams = [Stream(outbox, socket) for socket in sockets]
    for piece in (b"a", b"b"):
        for stream in streams:
            stream.write(piece)
    assert [socket.written for socket in sockets] == [[], []]

    await turn()
    streams[0].write(b"c")
    await turn()

    assert [socket.written for socket in sockets] == [[b"ab", b"c"], [b"ab"]]


async def test_what_was_sent_otherwise_or_has_nobody_to_go_to_is_not_written() -> None:
    outbox, sockets = Outbox(), [Socket(), Socket()]
    finished, left = (Stream(outbox, socket) for socket in sockets)
    finished.write(b"a")
    left.write(b"a")
    finished.unsent, left.disconnected = b"", True

    await turn()

    assert [socket.written for socket in sockets] == [[], []]


async def test_a_socket_that_fails_keeps_no_other_from_its_bytes(
    event_loop_errors: list[dict[str, Any]],
) -> None:
    outbox, sockets = Outbox(), [Socket(), Socket(is_broken=True), Socket()]
    for socket in sockets:
        Stream(outbox, socket).write(b"a")

    await turn()
    await turn()

    assert [socket.written for socket in sockets] == [[b"a"], [], [b"a"]]
    assert len(event_loop_errors) == 1


@pytest.fixture
async def event_loop_errors() -> list[dict[str, Any]]:
    """What the loop was told of exceptions that nobody caught."""
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    return errors
