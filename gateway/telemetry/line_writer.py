"""Whole lines to a descriptor, many in one write, without ever waiting for the reader."""

from __future__ import annotations

import asyncio
import os
import select
import stat
from collections.abc import Callable

PIECE_BYTES = 4096
"""A ready pipe takes this much without blocking, and as one piece among other writers (PIPE_BUF, pipe(7))."""

MAX_PENDING_BYTES = 1024 * 1024
RETRY_S = 0.05


class LineWriter:
    """Writes lines, those of one loop tick together.

    Whoever reads our standard error may be slow or stuck; a gateway must not be. So lines wait, up to
    `MAX_PENDING_BYTES`, and beyond that the newest are dropped. Once the reader has caught up it is told
    how many.

    Args:
        notice: the line that tells of so many dropped lines.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, descriptor: int, notice: Callable[[int], bytes]
    ) -> None:
        self._dropped = 0
        self._notice = notice
        self._loop = loop
        self._descriptor = descriptor
        self._pending = bytearray()
        """What waits, in the order it came. While there is something, a flush is due."""
        self._is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        """A file is always ready, and takes all that waits as one piece."""
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)

    def write(self, line: bytes) -> None:
        """Queue a line, newline included."""
        if (pending := self.room()) is not None:
            pending += line

    def room(self) -> bytearray | None:
        """What waits, for the caller to append a whole line to at once; None where the line is dropped."""
        pending = self._pending
        if not pending:
            self._loop.call_soon(self._flush)
        elif len(pending) > MAX_PENDING_BYTES:
            self._dropped += 1
            return None
        return pending

    def close(self) -> None:
        """Write what the reader takes at once; the rest is lost."""
        self._write_pending()

    def _flush(self) -> None:
        self._write_pending()
        if self._pending:
            self._loop.call_later(RETRY_S, self._flush)
        elif self._dropped:
            count, self._dropped = self._dropped, 0
            self.write(self._notice(count))

    def _write_pending(self) -> None:
        pending = self._pending
        while pending and (self._is_file or self._poll.poll(0)):
            piece = pending if self._is_file else _beginning(pending)
            try:
                written = os.write(self._descriptor, piece)
            except BlockingIOError:  # somebody else who holds the descriptor made it non-blocking
                return
            except OSError:  # nobody reads any more; what cannot be said is no reason to stop serving
                pending.clear()
                return
            is_whole = written == len(piece)
            del pending[:written]
            if not is_whole:
                return


def _beginning(pending: bytearray) -> bytearray:
    """What a ready pipe takes: whole lines, or a piece of one that is longer."""
    piece = pending[:PIECE_BYTES]
    return piece[: piece.rfind(b"\n") + 1 or PIECE_BYTES] if len(piece) == PIECE_BYTES else piece
