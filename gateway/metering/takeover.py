"""The journals of this replica's other processes: of the dead they are replayed, of the living read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import structlog

from gateway.metering.entry import request_id_of
from gateway.metering.journal_file import SUFFIX, Batch, JournalFile, payloads_in
from gateway.metering.replay import Replayer

log = structlog.get_logger(__name__)


class Takeover:
    """Replays what dead processes journaled. Several may work on one folder: a file's lock tells whose it is.

    Args:
        folder: of the journals; need not exist.
        on_pending: told how many entries of the dead wait, whenever that changes.
    """

    def __init__(
        self, folder: Path, replayer: Replayer, *, on_pending: Callable[[int], None] = lambda _: None
    ) -> None:
        self._folder = folder
        self._replayer = replayer
        self._on_pending = on_pending
        self._taken: dict[Path, _Inheritance] = {}

    async def run(self) -> bool:
        """Replay every file whose process is gone; True where none of them is left."""
        is_clean = await self._take_all()
        for path, inheritance in list(self._taken.items()):
            try:
                is_drained = await self._replayer.drain(inheritance)
            except OSError as error:
                _complain(path, error)
                is_clean = False
                continue
            finally:
                self._on_pending(self._pending)
            if not is_drained:
                return False
            del self._taken[path]
        return is_clean

    async def settled_by_the_living(self) -> set[str]:
        """Requests whose settlement stands in the journal of a process that lives. Raises `OSError`."""
        return await asyncio.to_thread(self._ids_of_the_living)

    async def aclose(self) -> None:
        """Let go of the files; what is left in them is for others."""
        while self._taken:
            self._taken.popitem()[1].file.close()

    @property
    def _pending(self) -> int:
        return sum(inheritance.pending for inheritance in self._taken.values())

    async def _take_all(self) -> bool:
        """Lock the files of the dead; False where that of one cannot be told."""
        try:
            paths = await asyncio.to_thread(self._others)
        except OSError as error:
            _complain(self._folder, error)
            return False
        is_clean = True
        for path in paths:
            try:
                inheritance = await asyncio.to_thread(_take_over, path)
            except OSError as error:
                _complain(path, error)
                is_clean = False
                continue
            if inheritance is not None:
                self._taken[path] = inheritance
                log.info(
                    "replaying the journal of a process that is gone",
                    file=str(path),
                    entries=inheritance.pending,
                )
        return is_clean

    def _ids_of_the_living(self) -> set[str]:
        found = set()
        for path in self._others():
            with contextlib.suppress(FileNotFoundError):  # its process has just replayed the last of it
                for payload in payloads_in(path):
                    with contextlib.suppress(ValueError):  # another version's; that is for its replay to tell
                        found.add(request_id_of(payload))
        return found

    def _others(self) -> list[Path]:
        try:
            paths = sorted(self._folder.iterdir())
        except FileNotFoundError:
            return []
        return [path for path in paths if path.name.endswith(SUFFIX) and path not in self._taken]


class _Inheritance:
    """The file of a dead process, as a backlog."""

    def __init__(self, file: JournalFile, pending: int) -> None:
        self.file = file
        self.pending = pending

    async def read(self, limit: int) -> Batch:
        return Batch((), 0) if self.file.is_closed else await asyncio.to_thread(self.file.read, limit)

    async def advance(self, batch: Batch, done: int) -> None:
        self.pending -= done
        await asyncio.to_thread(self._advance, batch.end_of(done))

    def _advance(self, end: int) -> None:
        if not self.file.is_closed:
            self.file.advance(end)
            if self.file.is_done:
                self.file.remove()


def _take_over(path: Path) -> _Inheritance | None:
    file = JournalFile.take_over(path)
    return _Inheritance(file, sum(1 for _ in payloads_in(path))) if file is not None else None


def _complain(path: Path, error: OSError) -> None:
    log.error("a journal cannot be replayed; nothing is swept until it is", path=str(path), reason=str(error))
