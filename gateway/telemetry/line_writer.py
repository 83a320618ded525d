"""Whole lines to a descriptor, many in one write, without ever waiting for the reader."""

from __future__ import annotations

import asyncio
import os
import select
from collections import deque
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
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._is_flush_due = False
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)

    def write(self, line: bytes) -> None:
        """Queue a line, newline included."""
        if self._pending_bytes > MAX_PENDING_BYTES:
            self._dropped += 1
            return
        self._queue(line)
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        """Write what the reader takes at once; the rest is lost."""
        self._write_pending()

    def _queue(self, line: bytes) -> None:
        self._pending.append(line)
        self._pending_bytes += len(line)

    def _flush(self) -> None:
        self._is_flush_due = False
        self._write_pending()
        if self._pending:
            self._is_flush_due = True
            self._loop.call_later(RETRY_S, self._flush)
        elif self._dropped:
            count, self._dropped = self._dropped, 0
            self.write(self._notice(count))

    def _write_pending(self) -> None:
        while self._pending and self._poll.poll(0):
            piece = self._next_piece()
            try:
                written = os.write(self._descriptor, piece)
            except BlockingIOError:  # somebody else who holds the descriptor made it non-blocking
                written = 0
            except OSError:  # nobody reads any more; what cannot be said is no reason to stop serving
                self._pending.clear()
                self._pending_bytes = 0
                return
            self._pending_bytes -= written
            if written < len(piece):
                self._pending.appendleft(piece[written:])
                return

    def _next_piece(self) -> bytes:
        """Whole lines, as many as make one piece; or a piece of a line that is longer."""
        pending = self._pending
        first = pending.popleft()
        if len(first) > PIECE_BYTES:
            pending.appendleft(first[PIECE_BYTES:])
            return first[:PIECE_BYTES]
        lines, size = [first], len(first)
        while pending and size + len(pending[0]) <= PIECE_BYTES:
            lines.append(pending.popleft())
            size += len(lines[-1])
        return b"".join(lines)
