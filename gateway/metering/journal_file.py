"""One file of the journal: locked by the process that writes it, or by the one that took it over.

    created --append--> written --an append failed--> sealed: read on, but never written again
    any     --its process ended, however--> free: the lock (flock) is gone; whoever gets it takes it over
    any     --every entry is done--> removed

A file is never written again after an error, because what an fsync that failed left on disk cannot be known
(fsync(2)): its last entries go into the next file once more, and settling twice does no harm.

All of this blocks, and none of it is safe to call from two threads at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from gateway.metering.lines import HEAD_BYTES, head, line, payload_of, position_of

SUFFIX = ".journal"
DAMAGED = ".damaged"

_CLOSED = -1


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry, and the offset behind it: where the file is done up to once this entry is."""

    payload: bytes
    end: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Entries in the order they were written. `damaged` lines stand between them that are none.

    `end` is the offset up to which was read: where there are no entries, nothing is left to do before it.
    """

    entries: Sequence[Entry]
    end: int
    damaged: int = 0

    def end_of(self, done: int) -> int:
        """The offset up to which the file is done once the first `done` entries are."""
        if done == len(self.entries):
            return self.end
        return self.entries[done - 1].end if done else 0


class JournalFile:
    """One open, locked file. Make it with `create` or `take_over`. All methods may raise `OSError`."""

    def __init__(self, path: Path, descriptor: int, position: int, size: int) -> None:
        self.path = path
        self.is_sealed = False
        self.damaged = 0
        self._descriptor = descriptor
        self._position = position
        self._size = size

    @classmethod
    def create(cls, path: Path) -> JournalFile:
        """A new file, its name safe on disk. Raises `FileExistsError` where the name is taken."""
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if not os.fstat(descriptor).st_nlink:  # taken for a dead process's before the lock was ours
                    os.close(descriptor)
                    continue
                os.pwrite(descriptor, head(HEAD_BYTES), 0)
                os.fsync(descriptor)
                _sync_folder(path.parent)
            except OSError:
                with contextlib.suppress(OSError):
                    path.unlink()
                os.close(descriptor)
                raise
            return cls(path, descriptor, HEAD_BYTES, HEAD_BYTES)

    @classmethod
    def take_over(cls, path: Path) -> JournalFile | None:
        """The file of a process that is gone; None where it lives, or somebody else was faster."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            facts = os.fstat(descriptor)
            position = position_of(os.pread(descriptor, HEAD_BYTES, 0))
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            raise
        if not facts.st_nlink:
            os.close(descriptor)
            return None
        taken = cls(path, descriptor, min(position, facts.st_size), facts.st_size)
        taken.is_sealed = True
        return taken

    @property
    def is_closed(self) -> bool:
        """True where the file was let go of; it cannot be read any more."""
        return self._descriptor == _CLOSED

    @property
    def is_done(self) -> bool:
        """True where nothing is left to replay."""
        return self._position >= self._size

    @property
    def size(self) -> int:
        """Bytes that are safely on disk."""
        return self._size

    def append(self, payloads: Sequence[bytes]) -> None:
        """Write entries and wait until they are on disk, all of them; after an error the file is sealed."""
        data = b"".join(map(line, payloads))
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(self._descriptor, data[written:], self._size + written)
            os.fsync(self._descriptor)
        except OSError:
            self.is_sealed = True
            with contextlib.suppress(OSError):  # a piece of a line that stays is skipped when it is read
                os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(data)

    def read(self, limit: int) -> Batch:
        """Up to `limit` entries that are not done yet."""
        found: list[Entry] = []
        damaged, offset = 0, self._position
        with _reader(self._descriptor, offset) as file:
            while len(found) < limit and offset < self._size:
                raw = file.readline()
                if not raw:
                    break
                offset += len(raw)
                payload = payload_of(raw)
                if payload is not None:
                    found.append(Entry(payload, offset))
                elif offset < self._size:  # at the very end it was cut and nobody was told that it is safe
                    damaged += 1
        self.damaged += damaged
        return Batch(found, offset, damaged)

    def advance(self, end: int) -> None:
        """Everything before the offset `end` is done."""
        self._position = max(self._position, end)
        with contextlib.suppress(OSError):  # then some of it is replayed twice
            os.pwrite(self._descriptor, head(self._position), 0)

    def remove(self) -> None:
        """Delete the file, or set it aside for a human where lines of it could not be read; then close it."""
        if self.damaged:
            self.path.rename(self.path.with_name(self.path.name + DAMAGED))
        else:
            self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let go of the file. What is in it stays for whoever takes it over. Idempotent."""
        descriptor, self._descriptor = self._descriptor, _CLOSED
        if descriptor != _CLOSED:
            os.close(descriptor)


def payloads_in(path: Path) -> Iterator[bytes]:
    """The entries of a file that are not done, whoever writes it now. Raises `OSError`."""
    with path.open("rb") as file:
        file.seek(position_of(file.read(HEAD_BYTES)))
        for raw in file:
            payload = payload_of(raw)
            if payload is not None:
                yield payload


def _reader(descriptor: int, offset: int) -> BinaryIO:
    """A buffered reader from `offset` on; closing it leaves the descriptor open."""
    os.lseek(descriptor, offset, os.SEEK_SET)  # writing goes by offsets of its own
    return os.fdopen(descriptor, "rb", closefd=False)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
