import asyncio
import fcntl
import os

import pytest

from gateway.telemetry import line_writer
from gateway.telemetry.line_writer import LineWriter
from tests.support.polling import until


class Pipe:
    """A pipe of one page, so that it is soon full."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)
        fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, 4096)
        self.is_open = True

    def read(self) -> bytes:
        try:
            return os.read(self.reading, 65536)
        except BlockingIOError:
            return b""

    def close_reader(self) -> None:
        if self.is_open:
            self.is_open = False
            os.close(self.reading)


@pytest.fixture
def pipe():
    pipe = Pipe()
    yield pipe
    pipe.close_reader()
    os.close(pipe.writing)


@pytest.fixture
async def writer(pipe):
    return LineWriter(asyncio.get_running_loop(), pipe.writing, lambda count: b"dropped %d\n" % count)


@pytest.fixture
def writes(monkeypatch):
    seen = []
    real = os.write

    def write(descriptor: int, data: bytes) -> int:
        seen.append(data)
        return real(descriptor, data)

    monkeypatch.setattr(line_writer.os, "write", write)
    return seen


async def test_lines_of_one_tick_leave_in_one_write(writer, pipe, writes):
    for number in range(5):
        writer.write(b"%d\n" % number)
    assert pipe.read() == b""
    await asyncio.sleep(0)
    assert pipe.read() == b"0\n1\n2\n3\n4\n"
    assert len(writes) == 1


async def test_a_file_takes_all_lines_of_a_tick_in_one_write(tmp_path, monkeypatch):
    sizes = []
    real = os.write
    monkeypatch.setattr(line_writer.os, "write", lambda fd, data: sizes.append(len(data)) or real(fd, data))
    line, path = b"x" * 999 + b"\n", tmp_path / "log"
    with path.open("wb", buffering=0) as file:
        writer = LineWriter(asyncio.get_running_loop(), file.fileno(), lambda count: b"dropped %d\n" % count)
        for _ in range(10):
            writer.write(line)
        await asyncio.sleep(0)
        assert path.read_bytes() == 10 * line
    assert sizes == [10 * len(line)]


async def test_a_piece_is_whole_lines_so_that_writers_do_not_mix(writer, pipe, writes):
    line = b"x" * 999 + b"\n"
    for _ in range(10):
        writer.write(line)
    received = b""
    while len(received) < 10 * len(line):
        await asyncio.sleep(0)
        writer._write_pending()
        received += pipe.read()
    assert received == 10 * line
    assert {len(piece) % len(line) for piece in writes} == {0}
    assert max(map(len, writes)) <= line_writer.PIECE_BYTES


async def test_a_line_longer_than_a_piece_arrives_whole(writer, pipe):
    line = bytes(range(32, 127)) * 200 + b"\n"
    writer.write(line)
    received = bytearray()

    def is_complete() -> bool:
        received.extend(pipe.read())
        return bytes(received) == line

    await until(is_complete)


async def test_a_stuck_reader_stops_nothing_and_hears_what_it_missed(writer, pipe, monkeypatch):
    monkeypatch.setattr(line_writer, "MAX_PENDING_BYTES", 20_000)
    line = b"x" * 999 + b"\n"
    for _ in range(100):
        writer.write(line)
        await asyncio.sleep(0)
    received = bytearray()

    def is_complete() -> bool:
        received.extend(pipe.read())
        return b"dropped" in received

    await until(is_complete)
    kept, _, notice = bytes(received).partition(b"dropped ")
    assert kept == line * (len(kept) // 1000)
    assert 20 <= len(kept) // 1000 < 30
    assert int(notice) == 100 - len(kept) // 1000
    writer.write(b"next\n")
    await until(lambda: pipe.read() == b"next\n")


async def test_a_descriptor_made_non_blocking_by_others_loses_nothing(writer, pipe, monkeypatch):
    os.set_blocking(pipe.writing, False)
    monkeypatch.setattr(writer, "_poll", Always())
    line = b"x" * 999 + b"\n"
    for _ in range(10):
        writer.write(line)
    received = bytearray()

    def is_complete() -> bool:
        received.extend(pipe.read())
        return bytes(received) == 10 * line

    await until(is_complete)


class Always:
    """Says that there is room, as poll does when another writer takes it meanwhile."""

    def poll(self, _: float) -> list[int]:
        return [1]


async def test_a_reader_that_has_gone_away_is_no_error(writer, pipe):
    pipe.close_reader()
    writer.write(b"to nobody\n")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not writer._pending


async def test_close_writes_what_is_left(writer, pipe):
    writer.write(b"last\n")
    writer.close()
    assert pipe.read() == b"last\n"
