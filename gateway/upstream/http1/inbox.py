"""What TLS brings in one turn of the event loop is decrypted first, then passed on, socket after socket."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol


class Receiver(Protocol):
    """One socket with TLS."""

    def pass_on(self) -> None:
        """Give away what was decrypted."""


class Inbox:
    """Receivers with something to pass on.

    OpenSSL, and what follows an answer, are each more code than a processor keeps at hand. To do the one for
    all sockets that are ready, then the other, saves half of what TLS costs an answer.
    """

    __slots__ = ("_loop", "_receivers")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._receivers: deque[Receiver] = deque()

    def enter(self, receiver: Receiver) -> None:
        """Have `receiver` pass on by the end of this turn."""
        if not self._receivers:
            self._loop.call_soon(self._pass_on)
        self._receivers.append(receiver)

    def _pass_on(self) -> None:
        receivers = self._receivers
        try:
            while receivers:
                receivers.popleft().pass_on()
        finally:
            if receivers:  # whatever became of one, the others are heard
                self._loop.call_soon(self._pass_on)
