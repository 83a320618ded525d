"""The one call of a flight, as the pipeline sees its caller: what it is sent goes to all who follow."""

from __future__ import annotations

import asyncio
from typing import Literal, Protocol

from gateway.cache.entry import Entry
from gateway.cache.flight import Flight, Head, Tail
from gateway.cache.replay import assembled
from gateway.cache.rules import is_whole
from gateway.caller import Answer, Reader
from gateway.domain.call import Call
from gateway.domain.errors import StreamBroken
from gateway.domain.facts import Facts
from gateway.domain.plan import Target
from gateway.relay.chunk import load_object

_ASK_EVERY_S = 0.25


class Elsewhere(Protocol):
    """What is known of followers in other processes."""

    async def is_followed(self) -> bool:
        """Whether there are any."""


class Lead:
    """A caller that stands for many. It leaves when the last of them has, of all processes.

    Events pass on as they come. The end waits for `land`: so that an answer is kept before anyone can ask
    for it again.

    Args:
        facts: of the call, for what is known of it when the answer begins.
        elsewhere: tells whether other processes follow; None where they cannot.
    """

    def __init__(self, flight: Flight, facts: Facts, elsewhere: Elsewhere | None) -> None:
        self.answer: Answer | None = None
        self._flight = flight
        self._facts = facts
        self._elsewhere = elsewhere
        self._is_gone = False
        self._reader: Reader | None = None
        self._body: bytes | None = None
        self._error: StreamBroken | None = None
        self._asking: asyncio.Task[None] | None = None
        flight.source = self

    # -- the caller's side

    def watch(self, reader: Reader | None) -> None:
        """Tell `reader` when all lag or have left; at once where they have. None stops that."""
        self._reader = reader
        if reader is not None and self._is_gone:
            reader.client_gone()

    def reply(self, body: bytes, answer: Answer) -> None:
        """A whole JSON reply."""
        self.answer = answer
        self._body = body
        self._flight.open(self._head("json"))
        self._flight.body(body)

    def start_stream(self, reader: Reader, answer: Answer) -> Flight:
        """A stream begins; its events go to what is returned."""
        self.answer = answer
        self._reader = reader
        self._flight.open(self._head("stream"))
        if self._is_gone:
            reader.client_gone()
        return self._flight

    def finish_stream(self, error: StreamBroken | None) -> None:
        """The stream is over."""
        self._error = error
        self._reader = None

    # -- the flight's side

    def pause(self) -> None:
        """All lag."""
        if self._reader is not None:
            self._reader.pause()

    def resume(self) -> None:
        """Read on."""
        if self._reader is not None:
            self._reader.resume()

    def abandoned(self) -> None:
        """Nobody of this process waits any more; others may."""
        if self._elsewhere is None:
            self._leave()
        elif self._asking is None:
            self._asking = asyncio.create_task(self._stay_while_followed(self._elsewhere))

    async def _stay_while_followed(self, elsewhere: Elsewhere) -> None:
        while await elsewhere.is_followed():  # noqa: ASYNC110  # only the store knows
            await asyncio.sleep(_ASK_EVERY_S)
        self._asking = None
        if not self._flight.has_followers:
            self._leave()

    def _leave(self) -> None:
        self._is_gone = True
        if self._reader is not None:
            self._reader.client_gone()

    # -- the end

    def entry(self, call: Call, target: Target, most_bytes: int, now: float) -> Entry | None:
        """What is to be kept of the answer; None where it is not one to be kept.

        An answer is kept that is whole, not too long, and of the model that the requested name means.
        """
        facts, flight = self._facts, self._flight
        if self._error is not None or not _is_first(facts, target):
            return None
        if flight.head is None or not flight.is_whole or flight.size > most_bytes:
            return None
        parts = flight.parts()
        document = assembled(parts) if self._body is None else load_object(self._body) or {}
        if not is_whole(document, call.choices):
            return None
        return Entry(
            kind=flight.head.kind,
            parts=parts,
            created_at=now,
            model=flight.head.model,
            upstream=flight.head.upstream,
            usage=facts.usage,
            service_tier=facts.service_tier,
        )

    def tail(self) -> Tail:
        """How the answer ended."""
        error = None if self._error is None else (self._error.code, str(self._error))
        return Tail(self._facts.usage, self._facts.service_tier, error)

    def land(self) -> None:
        """The call is settled, and its answer kept: let it end for everyone."""
        self._stop_asking()
        self._flight.close(self.tail())

    def fail(self, failure: BaseException) -> None:
        """There is no answer."""
        self._stop_asking()
        self._flight.fail(failure)

    def _stop_asking(self) -> None:
        if self._asking is not None:
            self._asking.cancel()

    def _head(self, kind: Literal["json", "stream"]) -> Head:
        facts = self._facts
        return Head(kind, facts.model or "", facts.upstream or "", facts.fallback, facts.shutdown_date)


def _is_first(facts: Facts, target: Target) -> bool:
    """Whether the alias's own model answered, as the alias rewrites for it."""
    if facts.fallback == "none":
        return True
    served = (facts.upstream, facts.model)
    steps = {c.step for c in target.candidates if (c.upstream, c.model) == served}
    return steps == {0}
