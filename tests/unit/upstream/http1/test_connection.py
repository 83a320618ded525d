"""One connection over an in-memory transport: any cutting, any pausing, any moment of attaching."""

import asyncio
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.errors import AttemptFailed, FailureClass
from gateway.upstream.http1.connection import READ_BYTES, Connection
from gateway.upstream.http1.deadlines import Deadlines
from gateway.upstream.http1.response import Http1Response
from gateway.upstream.port import Timeouts

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class MemoryTransport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.unsent = 0
        self.is_reading_now = True
        self.ended: str | None = None

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def writelines(self, list_of_data: Any) -> None:
        self.written += b"".join(list_of_data)

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        self.is_reading_now = False

    def resume_reading(self) -> None:
        self.is_reading_now = True

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = "aborted"


class Home:
    """Notes what a connection tells its pool."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def release(self, _: Connection) -> None:
        self.events.append("released")

    def discard(self, _: Connection) -> None:
        self.events.append("discarded")

    def lost(self, _: Connection) -> None:
        self.events.append("lost")


class Sink:
    def __init__(self) -> None:
        self.events: list[Any] = []

    def data(self, chunk: bytes) -> None:
        self.events.append(chunk)

    def end(self) -> None:
        self.events.append("end")

    def fail(self, error: Exception) -> None:
        self.events.append(error)


class Bench:
    """A connection on the workbench."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.home = Home()
        self.transport = MemoryTransport()
        self.deadlines = Deadlines(loop)
        self.connection = Connection(loop, self.home, "api.test:80")
        self.connection.connection_made(self.transport)

    def start(self) -> Http1Response:
        response = Http1Response(self.connection, self.deadlines, Timeouts(), self.loop.create_future())
        self.deadlines.arm(response, self.loop.time() + 60)
        self.connection.start(response, [b"request"])
        return response

    def feed(self, *pieces: bytes) -> None:
        for piece in pieces:
            for start in range(0, len(piece), READ_BYTES):
                part = piece[start : start + READ_BYTES]
                self.connection.get_buffer(-1)[: len(part)] = part
                self.connection.buffer_updated(len(part))


@pytest.fixture
def bench() -> Iterator[Bench]:
    loop = asyncio.new_event_loop()
    bench = Bench(loop)
    yield bench
    bench.deadlines.close()
    loop.close()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(
    parts=st.lists(st.binary(min_size=1, max_size=60), max_size=6),
    places=st.lists(st.integers(0, 600), max_size=10),
    attach_after=st.integers(0, 12),
    pauses=st.sets(st.integers(0, 12)),
    behind=st.sampled_from([b"", b"garbage"]),
)
def test_the_sink_gets_the_body_once_in_order_and_one_end(
    parts: list[bytes], places: list[int], attach_after: int, pauses: set[int], behind: bytes
) -> None:
    loop = asyncio.new_event_loop()
    try:
        bench = Bench(loop)
        response, sink = bench.start(), Sink()
        wire = HEAD + b"".join(map(chunk, parts)) + b"0\r\n\r\n" + behind
        edges = [0, *sorted({place % len(wire) for place in places}), len(wire)]
        attached = False
        for n, (start, end) in enumerate(pairwise(edges)):
            if start == end or bench.transport.ended:
                continue
            if n in pauses:
                response.pause()
            bench.feed(wire[start:end])
            if n >= attach_after and response.status and not attached:
                response.attach(sink)
                attached = True
            response.resume()
            assert bench.transport.is_reading_now or bench.transport.ended
        if not attached:
            response.attach(sink)
        assert sink.events[-1] == "end"
        assert b"".join(sink.events[:-1]) == b"".join(parts)
        assert all(sink.events)
        if behind:
            assert bench.transport.ended == "aborted"  # at once, or as unexpected bytes of an idle connection
        else:
            assert bench.home.events == ["released"]
        assert len(bench.deadlines) == 0
        bench.deadlines.close()
    finally:
        loop.close()


def test_what_is_held_for_nobody_is_bounded_and_reading_goes_on_when_someone_comes(bench: Bench) -> None:
    response = bench.start()
    bench.feed(HEAD, chunk(b"x" * 65536))
    assert bench.transport.is_reading_now
    bench.feed(chunk(b"y"))
    assert not bench.transport.is_reading_now
    sink = Sink()
    response.attach(sink)
    assert bench.transport.is_reading_now
    assert sink.events == [b"x" * 65536 + b"y"]


@pytest.mark.parametrize("pieces", [1, 2, 7])
@pytest.mark.parametrize("before", range(9))
@pytest.mark.parametrize(("limit", "fits"), [(5, True), (4, False)])
def test_a_body_is_read_up_to_its_limit_whenever_it_comes(
    bench: Bench, pieces: int, before: int, limit: int, fits: bool
) -> None:
    wire = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    head, body = wire[:-5], wire[-5:]
    parts = [head, *(body[n : n + -(-5 // pieces)] for n in range(0, 5, -(-5 // pieces)))]
    if pieces == 1:
        parts = [wire]
    response = bench.start()
    bench.feed(*parts[:before])
    reading = bench.loop.create_task(response.read(limit))
    bench.loop.run_until_complete(asyncio.sleep(0))
    for part in parts[before:]:
        if bench.transport.ended is None:
            bench.feed(part)

    if fits:
        assert bench.loop.run_until_complete(reading) == b"hello"
        assert bench.home.events == ["released"]
    else:
        with pytest.raises(AttemptFailed, match="larger than 4 bytes"):
            bench.loop.run_until_complete(reading)
    assert len(bench.deadlines) == 0


def test_attaching_does_not_end_a_pause(bench: Bench) -> None:
    response = bench.start()
    bench.feed(HEAD)
    response.pause()
    response.attach(Sink())
    assert not bench.transport.is_reading_now
    response.resume()
    assert bench.transport.is_reading_now


def test_a_connection_that_ends_paused_is_released_reading(bench: Bench) -> None:
    response = bench.start()
    bench.feed(HEAD)
    response.attach(Sink())
    response.pause()
    bench.feed(b"0\r\n\r\n")
    assert bench.transport.is_reading_now
    assert bench.home.events == ["released"]
    response.pause()  # of no concern to whoever has the connection now
    assert bench.transport.is_reading_now


def test_a_sink_may_abort_while_it_is_given_what_was_held(bench: Bench) -> None:
    class Aborting(Sink):
        def data(self, chunk: bytes) -> None:
            super().data(chunk)
            response.abort()

    response = bench.start()
    bench.feed(HEAD, chunk(b"x") + b"0\r\n\r\n")
    sink = Aborting()
    response.attach(sink)
    assert sink.events == [b"x"]
    assert bench.home.events == ["released"]


def test_a_sink_may_abort_with_the_last_piece(bench: Bench) -> None:
    class Aborting(Sink):
        def data(self, chunk: bytes) -> None:
            super().data(chunk)
            response.abort()

    response, sink = bench.start(), Aborting()
    bench.feed(HEAD)
    response.attach(sink)
    bench.feed(chunk(b"x") + b"0\r\n\r\n")
    assert sink.events == [b"x"]
    assert bench.home.events == []  # closing already, so nobody may take it
    assert bench.transport.ended == "aborted"


def test_an_idle_connection_is_out_of_use_as_soon_as_the_upstream_ends_it(bench: Bench) -> None:
    bench.start()
    bench.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    bench.connection.eof_received()
    assert bench.home.events == ["released", "discarded"]


def test_an_answer_before_the_request_is_out_is_delivered_and_the_connection_closed(bench: Bench) -> None:
    response = bench.start()
    bench.transport.unsent = 1
    bench.feed(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
    assert response.status == 413
    assert bench.transport.ended == "aborted"
    assert bench.home.events == []


def test_only_a_kept_connection_that_never_answered_is_stale(bench: Bench) -> None:
    fresh = bench.start()
    bench.connection.connection_lost(None)
    assert fresh.failure is not None
    assert not fresh.stale

    kept = Bench(bench.loop)
    kept.start()
    kept.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    second = kept.start()
    kept.connection.connection_lost(ConnectionResetError())
    assert second.stale

    touched = Bench(bench.loop)
    touched.start()
    touched.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    third = touched.start()
    touched.feed(b"H")
    touched.connection.connection_lost(ConnectionResetError())
    assert third.failure is not None
    assert third.failure.failure is FailureClass.CONNECT
    assert not third.stale


def test_a_body_without_framing_ends_well_with_the_connection(bench: Bench) -> None:
    response, sink = bench.start(), Sink()
    bench.feed(b"HTTP/1.1 200 OK\r\n\r\nbody")
    response.attach(sink)
    bench.connection.eof_received()
    bench.connection.connection_lost(None)
    assert sink.events == [b"body", "end"]
    assert "released" not in bench.home.events


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
def test_a_lost_connection_fails_the_body_once(bench: Bench, error: Exception | None) -> None:
    response, sink = bench.start(), Sink()
    bench.feed(HEAD, chunk(b"x"))
    response.attach(sink)
    bench.connection.eof_received()
    bench.connection.connection_lost(error)
    bench.connection.connection_lost(error)
    assert sink.events[0] == b"x"
    assert isinstance(sink.events[1], AttemptFailed)
    assert len(sink.events) == 2
    assert bench.home.events.count("lost") == 1


def test_bytes_that_nobody_asked_for_close_an_idle_connection(bench: Bench) -> None:
    bench.start()
    bench.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    bench.feed(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert bench.home.events == ["released", "discarded"]
    assert bench.transport.ended == "aborted"


def test_a_busy_connection_takes_no_second_request(bench: Bench) -> None:
    bench.start()
    with pytest.raises(RuntimeError):
        bench.start()
    bench.connection.connection_lost(None)
    with pytest.raises(RuntimeError):
        bench.start()
