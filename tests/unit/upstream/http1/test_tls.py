"""TLS between a socket and a connection, in memory: any cutting, any order of data, loss and end."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any, cast

import pytest
import trustme

from gateway.upstream.http1.connection import READ_BYTES, Connection
from gateway.upstream.http1.inbox import Inbox
from gateway.upstream.http1.tls import TlsSocket
from tests.unit.upstream.http1.test_connection import MemoryTransport


class Above:
    """Notes what the connection above would be told."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def carried_by(self, _: Any) -> None:
        self.events.append("open")

    def buffer_updated(self, nbytes: int, data: bytes) -> None:
        assert nbytes == len(data)
        self.events.append(data)

    def eof_received(self) -> None:
        self.events.append("end")

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append(exc)


class Upstream:
    """The other side, and the socket between the two."""

    def __init__(self, ca: trustme.CA, name: str = "api.test") -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert(name).configure_cert(context)
        trusting = ssl.create_default_context()
        ca.configure_trust(trusting)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_side=True)
        self.above = Above()
        self.transport = MemoryTransport()
        self.inbox = Inbox(asyncio.get_running_loop())
        self.socket = TlsSocket(self.inbox, cast("Connection", self.above), trusting, "api.test")
        self.socket.connection_made(self.transport)

    def hear(self) -> bytes:
        """What the client sent, decrypted."""
        self._in.write(self.transport.written)
        self.transport.written = b""
        heard = b""
        with contextlib.suppress(ssl.SSLWantReadError):
            while piece := self.tls.read(65536):
                heard += piece
        return heard

    def say(self, *pieces: bytes) -> bytes:
        """Encrypted, a record each."""
        for piece in pieces:
            self.tls.write(piece)
        return self._out.read()

    def end(self) -> bytes:
        """The end of TLS, encrypted."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self._out.read()

    def bring(self, data: bytes, at_once: int = READ_BYTES) -> None:
        """Have the socket read `data`, so much at a time."""
        for start in range(0, len(data), at_once):
            part = data[start : start + at_once]
            self.socket.get_buffer(-1)[: len(part)] = part
            self.socket.buffer_updated(len(part))

    async def shake(self, at_once: int = READ_BYTES) -> None:
        handshake = asyncio.create_task(self.socket.handshake())
        while not handshake.done():
            await asyncio.sleep(0)
            self._in.write(self.transport.written)
            self.transport.written = b""
            with contextlib.suppress(ssl.SSLError):  # it wants more, or was refused
                self.tls.do_handshake()
            self.bring(self._out.read(), at_once)
        await handshake


async def a_turn() -> None:
    await asyncio.sleep(0)


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def upstream(ca: trustme.CA) -> Upstream:
    upstream = Upstream(ca)
    await upstream.shake()
    assert upstream.above.events == ["open"]
    upstream.above.events.clear()
    return upstream


async def test_records_that_come_in_one_turn_are_passed_on_at_its_end_as_one(upstream: Upstream) -> None:
    upstream.socket.writelines([b"GET ", b"/"])
    assert upstream.hear() == b"GET /"
    upstream.bring(upstream.say(b"one", b"two", b"three"))
    assert upstream.above.events == []
    await a_turn()
    assert upstream.above.events == [b"onetwothree"]


@pytest.mark.parametrize("at_once", [1, 7])
async def test_any_cutting_gives_the_same(ca: trustme.CA, at_once: int) -> None:
    upstream = Upstream(ca)
    await upstream.shake(at_once)
    upstream.bring(upstream.say(b"one", b"two"), at_once)
    await a_turn()
    assert upstream.above.events[0] == "open"
    assert b"".join(upstream.above.events[1:]) == b"onetwo"


async def test_more_than_a_buffer_in_one_turn_comes_whole_and_in_order(upstream: Upstream) -> None:
    body = bytes(range(256)) * 1024
    upstream.bring(
        b"".join(upstream.say(body[start : start + 16000]) for start in range(0, len(body), 16000))
    )
    await a_turn()
    assert b"".join(upstream.above.events) == body


async def test_a_large_request_leaves_whole(upstream: Upstream) -> None:
    body = bytes(range(256)) * 4096
    upstream.socket.write(body)
    assert upstream.hear() == body


async def test_what_came_before_the_loss_of_the_socket_is_passed_on_before_it(upstream: Upstream) -> None:
    upstream.bring(upstream.say(b"half"))
    lost = ConnectionResetError()
    upstream.socket.connection_lost(lost)
    assert upstream.above.events == [b"half", lost]
    await a_turn()
    assert upstream.above.events == [b"half", lost]


async def test_the_end_of_tls_is_told_and_answered(upstream: Upstream) -> None:
    upstream.bring(upstream.say(b"all") + upstream.end())
    await a_turn()
    assert upstream.above.events == [b"all", "end"]
    assert upstream.transport.ended == "closed"


async def test_the_end_of_the_socket_alone_is_no_end(upstream: Upstream) -> None:
    upstream.bring(upstream.say(b"hal"))
    upstream.socket.eof_received()
    upstream.socket.connection_lost(None)
    assert upstream.above.events == [b"hal", None]


async def test_our_end_is_told_to_the_other_side(upstream: Upstream) -> None:
    upstream.socket.close()
    upstream.socket.close()
    assert upstream.transport.ended == "closed"
    upstream.hear()
    upstream.tls.unwrap()  # which would want to read, had it not come


async def test_a_forged_record_breaks_the_connection(upstream: Upstream) -> None:
    good, forged = upstream.say(b"good"), bytearray(upstream.say(b"forged"))
    forged[-1] ^= 1
    upstream.bring(good + bytes(forged))
    assert upstream.transport.ended == "closed"
    upstream.socket.connection_lost(None)
    data, error = upstream.above.events
    assert data == b"good"
    assert isinstance(error, ssl.SSLError)


async def test_one_receiver_that_fails_keeps_no_other_from_its_data(
    ca: trustme.CA, upstream: Upstream
) -> None:
    def failing(_: int, __: bytes) -> None:
        raise ValueError("planted")

    other = Upstream(ca)
    await other.shake()
    other.socket._inbox = upstream.inbox  # both of one transport
    cast("Any", upstream.above).buffer_updated = failing
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    upstream.bring(upstream.say(b"lost"))
    other.bring(other.say(b"heard"))
    await a_turn()
    await a_turn()
    assert other.above.events == ["open", b"heard"]
    assert [str(context["exception"]) for context in told] == ["planted"]


def _refused(upstream: Upstream) -> None:
    upstream.bring(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def _lost(upstream: Upstream) -> None:
    upstream.socket.connection_lost(ConnectionResetError())


@pytest.mark.parametrize(("fault", "kind"), [(_refused, ssl.SSLError), (_lost, ConnectionResetError)])
async def test_a_handshake_that_fails_says_why(
    ca: trustme.CA, fault: Callable[[Upstream], None], kind: type[OSError]
) -> None:
    upstream = Upstream(ca)
    handshake = asyncio.create_task(upstream.socket.handshake())
    await a_turn()
    fault(upstream)
    with pytest.raises(kind):
        await handshake
    upstream.socket.connection_lost(None)
    assert upstream.above.events == []


async def test_another_name_in_the_certificate_is_refused(ca: trustme.CA) -> None:
    upstream = Upstream(ca, name="other.test")
    with pytest.raises(ssl.SSLCertVerificationError):
        await upstream.shake()
    assert upstream.transport.ended == "closed"


async def test_a_handshake_that_is_given_up_leaves_no_socket(ca: trustme.CA) -> None:
    upstream = Upstream(ca)
    handshake = asyncio.create_task(upstream.socket.handshake())
    await a_turn()
    handshake.cancel()
    await asyncio.wait([handshake])
    assert handshake.cancelled()
    assert upstream.transport.ended == "closed"


async def test_a_socket_lost_before_its_handshake_says_so(ca: trustme.CA) -> None:
    upstream = Upstream(ca)
    upstream.socket.connection_lost(None)
    with pytest.raises(ConnectionResetError):
        await upstream.socket.handshake()
