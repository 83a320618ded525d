"""The journal: what `append` promises, what replaying finds, and a disk that refuses."""

import asyncio
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.metering import journal_file
from gateway.metering.journal import Journal, JournalFull
from gateway.metering.journal_file import payloads_in
from tests.support.polling import until
from tests.unit.metering.test_journal_file import files_up_to


def on_disk(folder: Path) -> list[bytes]:
    return [payload for path in sorted(folder.iterdir()) for payload in payloads_in(path)]


class Bench:
    """A journal, and all it tells."""

    def __init__(self, folder: Path, **options: object) -> None:
        self.pending: list[int] = []
        self.journal = Journal(folder, "w1", on_pending=self.pending.append, retry_s=0.01, **options)

    async def drain(self, limit: int = 10) -> list[bytes]:
        found: list[bytes] = []
        while (batch := await self.journal.read(limit)).entries:
            found += [entry.payload for entry in batch.entries]
            await self.journal.advance(batch, len(batch.entries))
        return found


@pytest.fixture
async def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    await bench.journal.aclose(1)


async def test_an_entry_is_on_disk_once_its_future_is_done(bench, tmp_path):
    await bench.journal.append(b"one")
    assert on_disk(tmp_path) == [b"one"]
    assert bench.journal.pending == 1
    assert await bench.drain() == [b"one"]
    assert bench.journal.pending == 0
    assert bench.pending == [1, 1, 0]
    assert list(tmp_path.iterdir()) == []


async def test_the_promise_is_kept_by_an_fsync_after_the_write(bench, tmp_path, monkeypatch):
    sync, threads = journal_file.os.fsync, set()
    held = threading.Event()

    def slow_sync(descriptor: int) -> None:
        threads.add(threading.current_thread())
        held.wait(5)
        sync(descriptor)

    monkeypatch.setattr(journal_file.os, "fsync", slow_sync)
    saved = bench.journal.append(b"one")
    await until(lambda: threads, "an fsync")
    await asyncio.sleep(0)
    assert not saved.done()
    held.set()
    await saved
    assert threading.main_thread() not in threads


async def test_what_comes_during_an_fsync_goes_out_with_the_next_one(bench, tmp_path, monkeypatch):
    sync, count = journal_file.os.fsync, 0
    held = threading.Event()

    def slow_sync(descriptor: int) -> None:
        nonlocal count
        count += 1
        held.wait(5)
        sync(descriptor)

    first = bench.journal.append(b"first")
    await first  # the file is there
    monkeypatch.setattr(journal_file.os, "fsync", slow_sync)
    saved = [bench.journal.append(b"0")]
    await until(lambda: count == 1, "the first fsync")
    saved += [bench.journal.append(b"%d" % number) for number in range(1, 200)]
    held.set()
    await asyncio.gather(*saved)
    assert count == 2
    assert on_disk(tmp_path) == [b"first", *(b"%d" % number for number in range(200))]


async def test_part_of_what_was_read_may_be_done(bench):
    await asyncio.gather(*map(bench.journal.append, (b"one", b"two", b"three")))
    batch = await bench.journal.read(10)
    await bench.journal.advance(batch, 1)
    assert bench.journal.pending == 2
    await bench.journal.advance(await bench.journal.read(10), 0)
    assert await bench.drain() == [b"two", b"three"]


async def test_a_caller_that_gives_up_takes_nothing_back(bench, tmp_path):
    saved = bench.journal.append(b"one")
    saved.cancel()
    await bench.journal.append(b"two")
    assert on_disk(tmp_path) == [b"one", b"two"]


async def test_a_disk_that_refuses_is_told_once_and_tried_again(bench, tmp_path):
    with capture_logs() as logs:
        with files_up_to(20):
            saved = [bench.journal.append(b"%d" % number) for number in range(5)]
            await until(lambda: bench.journal.is_refused, "the refusal")
            await asyncio.sleep(0.05)  # some more attempts
            assert not any(each.done() for each in saved)
            assert bench.journal.pending == 5
        await asyncio.gather(*saved)
    assert on_disk(tmp_path) == [b"%d" % number for number in range(5)]
    assert [line["event"] for line in logs] == [
        "the disk refuses the journal; settlements wait in memory",
        "the disk takes the journal again",
    ]
    assert "File too large" in logs[0]["reason"]


async def test_a_disk_with_little_room_takes_what_fits(bench, tmp_path):
    with files_up_to(200):
        saved = [bench.journal.append(b"%030d" % number) for number in range(20)]
        await asyncio.gather(*saved)
    assert sorted(on_disk(tmp_path)) == [b"%030d" % number for number in range(20)]
    assert await bench.drain() == [b"%030d" % number for number in range(20)]
    assert not bench.journal.is_refused


async def test_memory_is_bounded(tmp_path):
    bench = Bench(tmp_path, max_unsaved_bytes=100)
    with files_up_to(20):
        saved = bench.journal.append(100 * b"a")
        assert bench.journal.is_full
        with pytest.raises(JournalFull):
            bench.journal.append(b"b")
        await until(lambda: bench.journal.is_refused, "the refusal")
    await saved
    assert not bench.journal.is_full
    await bench.journal.append(b"b")
    assert await bench.drain() == [100 * b"a", b"b"]
    await bench.journal.aclose(1)


async def test_what_is_in_memory_only_may_be_done_without_the_disk(bench, tmp_path):
    with files_up_to(20):
        saved = [bench.journal.append(b"%d" % number) for number in range(3)]
        await until(lambda: bench.journal.is_refused, "the refusal")
        first, second, _ = bench.journal.unsaved(10)
        bench.journal.forget(second)
        bench.journal.forget(second)  # once is enough
        assert saved[1].done()
        assert bench.journal.pending == 2
    await asyncio.gather(*saved)
    bench.journal.forget(first)  # too late, it is on disk
    assert on_disk(tmp_path) == [b"0", b"2"]
    assert bench.journal.pending == 2
    assert await bench.drain() == [b"0", b"2"]


async def test_forgetting_what_is_just_being_written_loses_count_of_nothing(bench, tmp_path, monkeypatch):
    sync = journal_file.os.fsync
    held = threading.Event()

    def slow_sync(descriptor: int) -> None:
        held.wait(5)
        sync(descriptor)

    monkeypatch.setattr(journal_file.os, "fsync", slow_sync)
    saved = [bench.journal.append(b"%d" % number) for number in range(3)]
    await asyncio.sleep(0)
    bench.journal.forget(bench.journal.unsaved(2)[1])
    held.set()
    await asyncio.gather(*saved)
    await until(lambda: not bench.journal.unsaved(1))
    assert await bench.drain() == [b"0", b"1", b"2"]  # it is there: replayed once more, which does no harm
    assert bench.journal.pending == 0


async def test_closing_writes_what_is_in_memory(tmp_path):
    journal = Journal(tmp_path, "w1")
    journal.append(b"one")
    assert await journal.aclose(5) == []
    assert on_disk(tmp_path) == [b"one"]


async def test_closing_is_bounded_and_tells_what_is_left(tmp_path):
    journal = Journal(tmp_path, "w1")
    with files_up_to(20):
        journal.append(b"one")
        assert await journal.aclose(0.01) == [b"one"]


async def test_closing_leaves_the_files_to_others(tmp_path):
    journal = Journal(tmp_path, "w1")
    await journal.append(b"one")
    await journal.aclose(1)
    heir = None
    path = next(tmp_path.iterdir())

    def try_to_take() -> bool:
        nonlocal heir
        heir = journal_file.JournalFile.take_over(path)
        return heir is not None

    await until(try_to_take, "the lock")
    assert heir is not None
    heir.close()
