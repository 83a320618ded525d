"""Settlements that the store refuses for good: kept on disk for a human, out of the way of the others."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from gateway.limits.values import Settlement
from gateway.metering.file_sequence import FileSequence

SUFFIX = ".rejected"

log = structlog.get_logger(__name__)


class Rejected:
    """What this process had refused: a file in the form of the journal's, made when it is needed.

    Once the cause is mended, a file renamed to end in `.journal` is replayed like one of a dead process.

    Args:
        folder: of the journals.
        name: of this process, never used by another one.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._files = FileSequence(folder, name, SUFFIX)
        self._turn = asyncio.Lock()

    async def keep(self, payload: bytes, settlement: Settlement | None, error: Exception) -> None:
        """Keep an entry of the journal and say so; returns once it is on disk. Raises `OSError`."""
        async with self._turn:
            path = await asyncio.to_thread(self._files.append, [payload])
        log.error(
            "a settlement was refused for good; it is kept for you to look at",
            file=str(path),
            request_id=settlement.request_id if settlement is not None else None,
            key=settlement.key_id if settlement is not None else None,
            reason=str(error),
        )

    async def aclose(self) -> None:
        """Let go of the file."""
        async with self._turn:
            self._files.close()
