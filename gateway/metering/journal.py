"""The journal of one process: settlements that the store did not take, on disk until it does.

    append  -> in memory --written and fsynced by the journal's thread--> on disk (the caller is told)
               in memory --the disk refuses--> in memory, tried again each `RETRY_S`
    on disk, or in memory while the disk refuses --replayed--> done

The event loop never waits for the disk: one thread does all of it, and everything that is appended while it
is busy goes out with its next fsync. A journal without entries has no file.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import structlog

from gateway.metering.file_sequence import FileSequence
from gateway.metering.journal_file import SUFFIX, Batch

RETRY_S = 1.0
MAX_BATCH = 1024
MAX_UNSAVED_BYTES = 32 * 1024 * 1024
"""What may wait in memory for a disk that refuses: some 25,000 settlements."""

Args = TypeVarTuple("Args")
Result = TypeVar("Result")

log = structlog.get_logger(__name__)


class JournalFull(Exception):
    """The disk refuses, and memory holds as much as it may."""


class Unsaved:
    """An entry that is not on disk. `saved` is done once it is, or need not be any more."""

    __slots__ = ("payload", "saved")

    def __init__(self, payload: bytes, saved: asyncio.Future[None]) -> None:
        self.payload = payload
        self.saved = saved


class Journal:
    """What this process journals. Use it from one event loop.

    Args:
        folder: of the journals of this replica's processes; made when it is needed.
        name: of this process, never used by another one; the files' names begin with it.
        on_pending: told how many entries wait, whenever that changes.
        retry_s: pause after the disk refused.

    Attributes:
        is_refused: the disk takes nothing at the moment.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        on_pending: Callable[[int], None] = lambda _: None,
        retry_s: float = RETRY_S,
        max_unsaved_bytes: int = MAX_UNSAVED_BYTES,
    ) -> None:
        self.is_refused = False
        self._folder = folder
        self._on_pending = on_pending
        self._retry_s = retry_s
        self._max_unsaved_bytes = max_unsaved_bytes
        self._max_batch = MAX_BATCH
        self._unsaved: deque[Unsaved] = deque()
        self._unsaved_bytes = 0
        self._on_disk = 0
        self._writing: asyncio.Task[None] | None = None
        self._files = FileSequence(folder, name, SUFFIX)  # only the thread touches it
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")

    @property
    def pending(self) -> int:
        """How many entries are not done, on disk or still in memory."""
        return self._on_disk + len(self._unsaved)

    @property
    def is_full(self) -> bool:
        """True where the next entry would find no room: the disk refuses, and memory is full."""
        return self._unsaved_bytes >= self._max_unsaved_bytes

    def append(self, payload: bytes) -> asyncio.Future[None]:
        """Keep an entry; the future is done once it is on disk, fsync included.

        Cancelling the future takes nothing back. Raises `JournalFull`.
        """
        if self.is_full:
            raise JournalFull
        loop = asyncio.get_running_loop()
        unsaved = Unsaved(payload, loop.create_future())
        self._unsaved.append(unsaved)
        self._unsaved_bytes += len(payload)
        self._on_pending(self.pending)
        if self._writing is None or self._writing.done():
            self._writing = loop.create_task(self._write())
        return unsaved.saved

    async def read(self, limit: int) -> Batch:
        """The oldest entries on disk that are not done. Raises `OSError`."""
        return await self._in_thread(self._files.read, limit)

    async def advance(self, batch: Batch, done: int) -> None:
        """The first `done` entries of what `read` gave are done. Raises `OSError`."""
        self._on_disk -= done
        self._on_pending(self.pending)
        await self._in_thread(self._files.advance, batch.end_of(done))

    def unsaved(self, limit: int) -> list[Unsaved]:
        """The oldest entries that are in memory only."""
        return list(itertools.islice(self._unsaved, limit))

    def forget(self, unsaved: Unsaved) -> None:
        """An entry that is in memory only is done: it need not reach the disk any more."""
        with contextlib.suppress(ValueError):  # it reached the disk meanwhile, and is replayed from there
            self._unsaved.remove(unsaved)
            self._release(unsaved)
            self._on_pending(self.pending)

    async def aclose(self, within_s: float) -> list[bytes]:
        """Write what is in memory, for a bounded time; returns the entries that could not be written."""
        if self._writing is not None:
            await asyncio.wait({self._writing}, timeout=within_s)
            self._writing.cancel()
        left = [unsaved.payload for unsaved in self._unsaved]
        self._thread.submit(self._files.close)
        self._thread.shutdown(wait=False)
        return left

    async def _write(self) -> None:
        """Bring everything in memory to the disk, and go on trying where it refuses."""
        while self._unsaved:
            batch = self.unsaved(self._max_batch)
            try:
                await self._in_thread(self._files.append, [unsaved.payload for unsaved in batch])
            except OSError as error:
                if len(batch) > 1:
                    self._max_batch = len(batch) // 2  # less may fit
                    continue
                self._note_refusal(error)
                await asyncio.sleep(self._retry_s)
            else:
                self._note_success()
                self._on_disk += len(batch)  # forgotten ones too: they are there all the same
                for unsaved in batch:
                    if self._unsaved and self._unsaved[0] is unsaved:
                        self._unsaved.popleft()
                        self._release(unsaved)
                self._on_pending(self.pending)

    def _release(self, unsaved: Unsaved) -> None:
        self._unsaved_bytes -= len(unsaved.payload)
        if not unsaved.saved.done():
            unsaved.saved.set_result(None)

    def _note_refusal(self, error: OSError) -> None:
        if not self.is_refused:
            self.is_refused = True
            log.error(
                "the disk refuses the journal; settlements wait in memory",
                folder=str(self._folder),
                reason=str(error),
            )

    def _note_success(self) -> None:
        self._max_batch = min(MAX_BATCH, 2 * self._max_batch)
        if self.is_refused:
            self.is_refused = False
            log.info("the disk takes the journal again", folder=str(self._folder))

    async def _in_thread(self, work: Callable[[*Args], Result], *args: *Args) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)
