"""The journal files that one process writes, one after the other. All of this blocks."""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from gateway.metering.journal_file import Batch, JournalFile

MAX_FILE_BYTES = 64 * 1024 * 1024
"""A file of this size is followed by the next one, so that replaying gives space back as it goes."""


class FileSequence:
    """Appends to the newest file, reads from the oldest. Safe to call from one thread at a time.

    Args:
        name: what the files' names begin with; never used by another process.
        suffix: what they end with.
    """

    def __init__(self, folder: Path, name: str, suffix: str) -> None:
        self._folder = folder
        self._name = name
        self._suffix = suffix
        self._numbers = itertools.count(1)
        self._files: deque[JournalFile] = deque()

    def append(self, payloads: Sequence[bytes]) -> Path:
        """Write entries, all of them or none; returns where they are, safe on disk. Raises `OSError`."""
        file = self._newest()
        try:
            file.append(payloads)
        except OSError:
            if file.is_done:  # new, and nothing fitted: a full disk keeps no empty files
                self._files.pop()
                with contextlib.suppress(OSError):
                    file.remove()
            raise
        return file.path

    def read(self, limit: int) -> Batch:
        """The oldest entries that are not done; an empty batch where there are none. Raises `OSError`."""
        return self._files[0].read(limit) if self._files else Batch((), 0)

    def advance(self, end: int) -> None:
        """The oldest file is done up to the offset `end`, and is removed if that is all. Raises `OSError`."""
        if self._files:
            file = self._files[0]
            file.advance(end)
            if file.is_done:
                self._files.popleft()
                file.remove()

    def close(self) -> None:
        """Let go of all files."""
        while self._files:
            self._files.popleft().close()

    def _newest(self) -> JournalFile:
        files = self._files
        if not files or files[-1].is_sealed or files[-1].size >= MAX_FILE_BYTES:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            name = f"{self._name}-{next(self._numbers)}{self._suffix}"
            files.append(JournalFile.create(self._folder / name))
        return files[-1]
