"""A response read through httpx2: the body goes to its sink from a task of its own."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Protocol, cast

import httpx2

from gateway.domain.errors import AttemptFailed, FailureClass
from gateway.upstream.port import Sink, Timeouts


class Owner(Protocol):
    """What a response asks of its transport."""

    def forget(self, response: HttpxResponse) -> None:
        """The response is done with its connection."""

    def close_later(self, answer: httpx2.Response) -> None:
        """Let go of a connection from a callback."""

    def keep(self, task: asyncio.Task[None]) -> None:
        """Hold on to a task until it is done."""


class HttpxResponse:
    """The `UpstreamResponse` of this transport: a task reads the body, and waits while it is paused."""

    def __init__(self, owner: Owner, peer: str, answer: httpx2.Response, timeouts: Timeouts) -> None:
        self._owner = owner
        self._peer = peer
        self._answer = answer
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        self._running = asyncio.Event()
        self._running.set()
        self._sink: Sink | None = None
        self._pump_task: asyncio.Task[None] | None = None
        self._is_claimed = False
        self._is_done = False
        self.status = answer.status_code
        self.headers = tuple((name.lower(), value) for name, value in answer.headers.raw)
        self.last_byte_at = self._loop.time()
        self.whole: bytes | None = None  # it is read when somebody wants it

    def header(self, name: bytes) -> bytes | None:
        """The first header of this lower-case name."""
        for candidate, value in self.headers:
            if candidate == name:
                return value
        return None

    def has_any(self, beginning: bytes) -> bool:
        """Whether the lower-case name of any header begins so."""
        return any(name.startswith(beginning) for name, _ in self.headers)

    def attach(self, sink: Sink) -> None:
        """Deliver the body to `sink` from now on."""
        self._claim()
        if not self._is_done:
            self._sink = sink
            self._pump_task = self._loop.create_task(self._pump())
            self._owner.keep(self._pump_task)

    async def read(self, limit: int, until: float = math.inf) -> bytes:
        """The whole body, of at most `limit` bytes, here `until` then."""
        self._claim()
        body = bytearray()
        idle_s = self._timeouts.idle_s
        try:
            async with asyncio.timeout_at(min(self._loop.time() + idle_s, until)) as bound:
                async for chunk in self._chunks():
                    body += chunk
                    if len(body) > limit:
                        reason = f"the answer is larger than {limit} bytes"
                        raise AttemptFailed(FailureClass.BAD_RESPONSE, reason)
                    bound.reschedule(min(self.last_byte_at + idle_s, until))
        except TimeoutError as error:
            reason = f"{self._peer} fell silent within its answer for {idle_s:g} s (idle_s)"
            if self._loop.time() >= until:
                reason = f"{self._peer} took too long for its answer"
            raise AttemptFailed(FailureClass.TIMEOUT, reason) from error
        finally:
            await self._let_go()
        return bytes(body)

    def pause(self) -> None:
        """Stop reading; at most one piece is read ahead."""
        self._running.clear()

    def resume(self) -> None:
        """Read on."""
        self._running.set()

    def abort(self) -> None:
        """Close the connection unless the body is complete, and call nobody back."""
        self._sink = None
        if self._is_done:
            return
        if self._pump_task is not None:
            self._pump_task.cancel()
        else:
            self._is_done = True
            self._owner.forget(self)
            self._owner.close_later(self._answer)

    def stop(self) -> None:
        """The transport is closing: the body breaks off."""
        sink = self._sink
        self.abort()
        if sink is not None:
            sink.fail(AttemptFailed(FailureClass.BAD_RESPONSE, "the gateway is stopping"))

    def _claim(self) -> None:
        if self._is_claimed:
            raise RuntimeError("a response's body is delivered once")
        self._is_claimed = True

    async def _chunks(self) -> AsyncIterator[bytes]:
        stream = cast("httpx2.AsyncByteStream", self._answer.stream)
        with self._translated():
            async for chunk in stream:
                self.last_byte_at = self._loop.time()
                yield chunk

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except httpx2.TransportError as error:
            reason = (
                f"{self._peer} closed the connection, or broke the protocol, before its answer was complete"
            )
            raise AttemptFailed(FailureClass.BAD_RESPONSE, reason) from error

    async def _pump(self) -> None:
        failure: AttemptFailed | None = None
        try:
            async for chunk in self._chunks():
                await self._running.wait()
                if self._sink is not None:
                    self._sink.data(chunk)
        except AttemptFailed as error:
            failure = error
        except Exception as error:  # noqa: BLE001  # the task's end: a sink that raised hears that it is over
            self._loop.call_exception_handler({"message": "a sink failed", "exception": error})
            failure = AttemptFailed(FailureClass.BAD_RESPONSE, "the response was given up by the gateway")
        finally:
            await self._let_go()
        sink, self._sink = self._sink, None
        if sink is None:
            return
        if failure is not None:
            sink.fail(failure)
        else:
            sink.end()

    async def _let_go(self) -> None:
        self._is_done = True
        self._owner.forget(self)
        await self._answer.aclose()
