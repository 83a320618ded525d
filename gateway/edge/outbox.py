"""What streams send in one turn of the event loop leaves at its end, socket after socket."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Sender(Protocol):
    """One stream to a client."""

    transport: asyncio.Transport
    unsent: bytes
    """What it sends in this turn."""
    disconnected: bool


class Outbox:
    """Senders with unsent bytes.

    In a turn many upstreams have something to say. To read them all first and to write to all clients then
    keeps the processor at one kind of work for longer, and wakes those who read less often.
    """

    __slots__ = ("_senders",)

    def __init__(self) -> None:
        self._senders: list[Sender] = []

    def enter(self, sender: Sender) -> None:
        """Send what `sender` has by the end of this turn."""
        if not self._senders:
            asyncio.get_running_loop().call_soon(self._flush)
        self._senders.append(sender)

    def _flush(self) -> None:
        senders, self._senders = iter(self._senders), []
        try:
            for sender in senders:
                unsent, sender.unsent = sender.unsent, b""
                if unsent and not sender.disconnected:
                    sender.transport.write(unsent)
        finally:
            for sender in senders:  # whatever became of one, the others are sent
                self.enter(sender)
