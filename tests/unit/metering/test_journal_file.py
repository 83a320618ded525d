"""One file of the journal: locks, torn ends, and what is left to do."""

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.metering import journal_file
from gateway.metering.journal_file import JournalFile, payloads_in
from gateway.metering.lines import HEAD_BYTES, line


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "worker-1.journal"


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def left_in(file: JournalFile) -> list[bytes]:
    return [entry.payload for entry in file.read(1000).entries]


def left_by_the_dead(path: Path) -> list[bytes]:
    taken = JournalFile.take_over(path)
    assert taken is not None
    try:
        return left_in(taken)
    finally:
        taken.close()


def test_entries_are_read_in_order_and_a_few_at_a_time(path):
    file = JournalFile.create(path)
    file.append([b"one", b"two"])
    file.append([b"three"])
    first = file.read(2)
    assert [entry.payload for entry in first.entries] == [b"one", b"two"]
    file.advance(first.end)
    assert left_in(file) == [b"three"]
    assert not file.is_done
    file.advance(file.read(2).end)
    assert file.is_done
    file.remove()
    assert not path.exists()


def test_part_of_a_batch_may_be_done(path):
    file = JournalFile.create(path)
    file.append([b"one", b"two", b"three"])
    batch = file.read(10)
    file.advance(batch.end_of(0))
    assert left_in(file) == [b"one", b"two", b"three"]
    file.advance(batch.end_of(2))
    assert left_in(file) == [b"three"]
    file.close()


def test_what_is_done_stays_done_for_the_heir(path):
    file = JournalFile.create(path)
    file.append([b"one", b"two"])
    file.advance(file.read(1).end)
    assert list(payloads_in(path)) == [b"two"]
    file.close()
    assert left_by_the_dead(path) == [b"two"]


def test_the_file_of_a_living_process_is_not_taken(path):
    file = JournalFile.create(path)
    assert JournalFile.take_over(path) is None
    file.close()
    taken = JournalFile.take_over(path)
    assert taken is not None
    assert JournalFile.take_over(path) is None  # the heir lives
    taken.close()


def test_a_file_that_is_gone_is_not_taken(path):
    assert JournalFile.take_over(path) is None


def test_a_file_that_goes_while_it_is_taken_is_not_taken(path, monkeypatch):
    JournalFile.create(path).close()
    lock = journal_file.fcntl.flock

    def slow_lock(descriptor: int, how: int) -> None:
        path.unlink(missing_ok=True)
        lock(descriptor, how)

    monkeypatch.setattr(journal_file.fcntl, "flock", slow_lock)
    assert JournalFile.take_over(path) is None


def test_a_new_file_that_is_taken_before_it_is_locked_is_made_again(path, monkeypatch):
    lock = journal_file.fcntl.flock
    heirs = [path]

    def slow_lock(descriptor: int, how: int) -> None:
        if heirs:  # an heir was faster, and found it empty
            heirs.pop().unlink()
        lock(descriptor, how)

    monkeypatch.setattr(journal_file.fcntl, "flock", slow_lock)
    file = JournalFile.create(path)
    file.append([b"one"])
    assert list(payloads_in(path)) == [b"one"]
    file.close()


def test_a_name_is_used_once(path):
    JournalFile.create(path).close()
    with pytest.raises(FileExistsError):
        JournalFile.create(path)
    assert path.exists()


@pytest.mark.parametrize("cut", range(1, len(line(b"two"))))
def test_a_torn_end_is_skipped(path, cut):
    file = JournalFile.create(path)
    file.append([b"one", b"two"])
    file.close()
    os.truncate(path, path.stat().st_size - cut)
    taken = JournalFile.take_over(path)
    assert taken is not None
    batch = taken.read(10)
    assert [entry.payload for entry in batch.entries] == [b"one"]
    assert batch.damaged == 0
    taken.advance(batch.end)
    assert taken.is_done
    taken.remove()
    assert not path.exists()


def test_a_file_cut_within_its_head_is_empty(path):
    JournalFile.create(path).close()
    os.truncate(path, HEAD_BYTES // 2)
    taken = JournalFile.take_over(path)
    assert taken is not None
    assert taken.is_done
    taken.close()


def test_a_damaged_line_is_skipped_and_its_file_set_aside(path):
    file = JournalFile.create(path)
    file.append([b"one", b"two", b"three"])
    file.close()
    content = bytearray(path.read_bytes())
    content[content.index(b"two")] ^= 1
    path.write_bytes(content)
    taken = JournalFile.take_over(path)
    assert taken is not None
    batch = taken.read(10)
    assert [entry.payload for entry in batch.entries] == [b"one", b"three"]
    assert batch.damaged == 1
    taken.advance(batch.end)
    taken.remove()
    assert not path.exists()
    assert path.with_name(path.name + ".damaged").read_bytes()[HEAD_BYTES:] == content[HEAD_BYTES:]


def test_a_damaged_head_means_that_all_is_replayed(path):
    file = JournalFile.create(path)
    file.append([b"one", b"two"])
    file.advance(file.read(1).end)
    file.close()
    content = bytearray(path.read_bytes())
    content[HEAD_BYTES - 2] ^= 1
    path.write_bytes(content)
    assert left_by_the_dead(path) == [b"one", b"two"]


def test_a_write_that_does_not_fit_leaves_what_was_there(path):
    file = JournalFile.create(path)
    file.append([b"one"])
    with files_up_to(HEAD_BYTES + 100), pytest.raises(OSError, match="File too large") as caught:
        file.append([50 * b"a", 50 * b"b"])
    assert caught.value.errno == errno.EFBIG
    assert file.is_sealed
    assert left_in(file) == [b"one"]
    file.close()
    assert left_by_the_dead(path) == [b"one"]


def test_a_torn_write_that_cannot_be_taken_back_is_skipped(path, monkeypatch):
    file = JournalFile.create(path)
    file.append([b"one"])

    def no_truncation(*_: object) -> None:
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(journal_file.os, "ftruncate", no_truncation)
    with files_up_to(HEAD_BYTES + 60), pytest.raises(OSError, match="File too large"):
        file.append([50 * b"a"])
    assert path.stat().st_size == HEAD_BYTES + 60  # a piece of the line stands there
    file.close()
    assert left_by_the_dead(path) == [b"one"]


def test_a_file_whose_fsync_failed_counts_on_nothing_of_it(path, monkeypatch):
    file = JournalFile.create(path)
    sync = journal_file.os.fsync

    def no_sync(_: int) -> None:
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(journal_file.os, "fsync", no_sync)
    with pytest.raises(OSError, match="no"):
        file.append([b"one"])
    monkeypatch.setattr(journal_file.os, "fsync", sync)
    assert file.is_sealed
    assert file.is_done
    file.close()


def test_the_head_that_cannot_be_written_harms_nobody(path, monkeypatch):
    file = JournalFile.create(path)
    file.append([b"one", b"two"])

    def no_write(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no")

    monkeypatch.setattr(journal_file.os, "pwrite", no_write)
    file.advance(file.read(1).end)
    assert left_in(file) == [b"two"]
    file.close()
    assert left_by_the_dead(path) == [b"one", b"two"]  # twice, which the store sees


def test_only_its_owner_may_read_it(path):
    JournalFile.create(path).close()
    assert path.stat().st_mode & 0o777 == 0o600
