"""Files one after the other: when a new one begins, and when an old one goes."""

import errno

import pytest

from gateway.metering import file_sequence, journal_file
from gateway.metering.file_sequence import FileSequence
from tests.unit.metering.test_journal_file import files_up_to


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def drain(files: FileSequence, limit: int = 1000) -> list[bytes]:
    found = []
    while (batch := files.read(limit)).entries:
        found += [entry.payload for entry in batch.entries]
        files.advance(batch.end)
    return found


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data" / "journal"


@pytest.fixture
def files(folder):
    files = FileSequence(folder, "w1", ".journal")
    yield files
    files.close()


def test_nothing_is_made_before_it_is_needed(files, folder):
    assert files.read(10).entries == ()
    files.advance(0)
    assert not folder.exists()


def test_a_file_goes_when_all_of_it_is_done_and_another_comes(files, folder):
    files.append([b"one"])
    assert names(folder) == ["w1-1.journal"]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert drain(files) == [b"one"]
    assert names(folder) == []
    files.append([b"two"])
    assert names(folder) == ["w1-2.journal"]


def test_a_large_file_is_followed_by_the_next_one(files, folder, monkeypatch):
    monkeypatch.setattr(file_sequence, "MAX_FILE_BYTES", 100)
    for payload in (b"one", 50 * b"2", b"three", b"four"):
        files.append([payload])
    assert names(folder) == ["w1-1.journal", "w1-2.journal"]
    assert drain(files, limit=1) == [b"one", 50 * b"2", b"three", b"four"]
    assert names(folder) == []


def test_after_an_error_a_new_file_is_written_and_the_old_one_still_read(files, folder):
    files.append([b"one"])
    with files_up_to(100), pytest.raises(OSError, match="File too large"):
        files.append([100 * b"2"])
    files.append([100 * b"2"])
    assert names(folder) == ["w1-1.journal", "w1-2.journal"]
    assert drain(files) == [b"one", 100 * b"2"]


def test_a_disk_that_refuses_collects_no_empty_files(files, folder):
    with files_up_to(100):
        for _ in range(3):
            with pytest.raises(OSError, match="File too large"):
                files.append([100 * b"2"])
    assert names(folder) == []


def test_a_disk_without_room_for_a_name_keeps_nothing_open(files, folder, monkeypatch):
    def no_sync(_: int) -> None:
        raise OSError(errno.ENOSPC, "no room")

    with monkeypatch.context() as patch:
        patch.setattr(journal_file.os, "fsync", no_sync)
        with pytest.raises(OSError, match="no room"):
            files.append([b"one"])
    assert names(folder) == []
    files.append([b"one"])
    assert drain(files) == [b"one"]
