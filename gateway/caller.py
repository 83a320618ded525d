"""Whoever called and waits for the answer, as those see it who answer."""

from __future__ import annotations

from typing import Protocol

from gateway.domain.errors import StreamBroken


class Reader(Protocol):
    """Whoever wants to know how a client does."""

    def pause(self) -> None:
        """The client reads too slowly."""

    def resume(self) -> None:
        """The client has caught up."""

    def client_gone(self) -> None:
        """The client left."""


class Drain(Protocol):
    """Where the events of a stream go."""

    def write(self, data: bytes) -> None:
        """Send bytes; never blocks."""


class Answer(Protocol):
    """An upstream's answer, for the few headers of it that callers get."""

    def header(self, name: bytes) -> bytes | None:
        """The first header of this lower-case name."""

    def has_any(self, beginning: bytes) -> bool:
        """Whether the lower-case name of any header begins so."""


class Caller(Protocol):
    """Whoever called and waits for the answer."""

    def watch(self, reader: Reader) -> None:
        """Tell `reader` when the client lags or leaves; at once where it has left."""

    def reply(self, body: bytes, answer: Answer) -> None:
        """Send a whole JSON reply."""

    def start_stream(self, reader: Reader, answer: Answer) -> Drain:
        """Send the head of a stream; its events go to what is returned."""

    def finish_stream(self, error: StreamBroken | None) -> None:
        """End a stream: with `[DONE]`, or with the one error event and none."""
