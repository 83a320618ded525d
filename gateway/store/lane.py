"""One server, kept in reach: a connection that comes back by itself, and a breaker for when it does not.

All calls of one loop tick leave in one write: `send` only appends, the first of a tick schedules `_flush`.

The breaker. A lane is up or away; away, calls fail at once.

    up    --five failures in a row-->                 away
    away  --a new connection answers our greeting-->  up
    away  --the old connection answers a PING-->      up   (one each `PROBE_EVERY_S`)

A failure is a call without a reply in time, an attempt to connect that failed, or a LOADING reply. A lost
connection is none: the attempt that follows at once tells how the server is. While the lane is up without a
connection, calls wait for the next one, each for as long as it would have waited for its reply.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from typing import Any

import hiredis

from gateway.store.address import Address, Command
from gateway.store.errors import StoreAway, StoreError, StoreReplyError
from gateway.store.wire import Waiter, Wire

FAILURES_TO_OPEN = 5
PROBE_EVERY_S = 0.5
CONNECT_S = 1.0  # a greeting may cross a region and a TLS handshake, so it gets more than one call does
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
SILENT_TIMEOUTS = 3  # a connection silent for that many timeouts is given up
LATE_S = 0.02  # a timer this late tells that the loop was busy, not the store
TIMER_STEP_S = 0.002  # loops count timers in milliseconds; a shorter one would spin

# The stub calls the argument a tuple of one.
pack: Callable[[Command], bytes] = hiredis.pack_command  # type: ignore[assignment]


class Lane:
    """The way to one server: a connection, the calls on it, its timer and its breaker.

    Args:
        timeout_s: how long a call waits where `send` is told nothing else.
        on_change: called with the new `is_up`, once a change, from the event loop.
    """

    def __init__(
        self,
        address: Address,
        *,
        timeout_s: float,
        clock: Callable[[], float],
        on_change: Callable[[bool], None],
    ) -> None:
        self.is_up = False
        self._address = address
        self._timeout_s = timeout_s
        self._clock = clock
        self._on_change = on_change
        self._trouble = "it was not opened"
        self._failures = 0
        self._wire: Wire | None = None
        self._queue: list[Waiter] = []
        self._packed: list[bytes] = []
        self._is_flush_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._wake_at = math.inf
        self._was_excused = False
        self._loop: asyncio.AbstractEventLoop
        self._keeper: asyncio.Task[None] | None = None
        self._was_tried = asyncio.Event()
        self._stir = asyncio.Event()

    async def open(self) -> None:
        """Connect, and stay connected until `aclose`.

        Raises `StoreAway` where the first attempt fails; the lane goes on trying all the same.
        """
        self._loop = asyncio.get_running_loop()
        self._keeper = asyncio.create_task(self._keep())
        await self._was_tried.wait()
        if not self.is_up:
            raise self._away()

    async def aclose(self) -> None:
        """Fail what is in flight and disconnect. Idempotent."""
        self.is_up = False
        self._trouble = "it was closed"
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
            self._keeper = None
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close(str(self._away()))
            await wire.gone.wait()
        if self._timer is not None:
            self._timer.cancel()
        for future, _ in self._queue:
            if not future.done():
                future.set_exception(self._away())
        self._queue, self._packed = [], []

    def send(self, packed: bytes, timeout_s: float | None = None) -> asyncio.Future[Any]:
        """Send a packed command with the next write; the future is its reply.

        The future fails with `StoreReplyError` or `StoreAway`. Raises `StoreAway` while the lane is away.
        """
        if not self.is_up:
            raise self._away()
        future = self._loop.create_future()
        deadline = self._clock() + (self._timeout_s if timeout_s is None else timeout_s)
        self._queue.append((future, deadline))
        self._packed.append(packed)
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self._flush)
        if deadline < self._wake_at:
            self._wake(deadline)
        return future

    # What the wire tells.

    def answered(self) -> None:
        """A call has its reply: failures are no longer in a row."""
        self._failures = 0

    def refused(self, error: StoreReplyError) -> None:
        """The server is still loading its data."""
        self._fail(str(error))

    def lost(self, why: str) -> None:
        """The connection is gone: look for the next one."""
        self._wire = None
        self._trouble = why
        self._stir.set()

    # Sending and giving up.

    def _flush(self) -> None:
        self._is_flush_due = False
        if self._wire is not None and self._queue:
            self._wire.send(self._packed, self._queue)
            self._queue, self._packed = [], []

    def _wake(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._wake_at = at
        self._timer = self._loop.call_later(max(TIMER_STEP_S, at - self._clock()), self._give_up)

    def _give_up(self) -> None:
        """Fail the calls whose time is over, and sleep until the next one's."""
        now = self._clock()
        late, self._wake_at, self._timer = now - self._wake_at, math.inf, None
        if late > LATE_S and not self._was_excused:
            # The loop itself was held up: replies may lie unread, calls unsent. Give back the time, once.
            self._was_excused = True
            self._wake(now + min(late, self._timeout_s))
            return
        self._was_excused = False
        wire = self._wire
        waiters = [*wire.waiters, *self._queue] if wire is not None else self._queue
        next_at = math.inf
        for future, deadline in waiters:
            if future.done():
                continue
            if deadline > now + TIMER_STEP_S:
                next_at = min(next_at, deadline)
                continue
            where = "in time" if wire is not None else "in time: not connected"
            future.set_exception(StoreAway(f"the store at {self._address} did not answer {where}"))
            self._fail("it did not answer in time")
        if wire is None:
            self._drop_unwaited()
        elif wire.waiters:
            # Late replies are a sign of life too: only a connection that brings nothing at all is given up.
            silent_at = max(wire.waiters[0][1], wire.heard_at + self._timeout_s)
            silent_at += self._timeout_s * (SILENT_TIMEOUTS - 1)
            if silent_at <= now + TIMER_STEP_S:
                wire.close(f"the store at {self._address} fell silent; the call may have run")
            else:
                next_at = min(next_at, silent_at)
        if next_at < math.inf:
            self._wake(next_at)

    def _drop_unwaited(self) -> None:
        """Forget the queued calls that have failed or were cancelled: they must not run later."""
        kept = [pair for pair in zip(self._queue, self._packed, strict=True) if not pair[0][0].done()]
        self._queue = [waiter for waiter, _ in kept]
        self._packed = [packed for _, packed in kept]

    # The breaker.

    def _fail(self, why: str) -> None:
        self._trouble = why
        self._failures += 1
        if self._failures >= FAILURES_TO_OPEN:
            self._change(is_up=False)
            self._stir.set()

    def _recover(self) -> None:
        self._failures = 0
        self._change(is_up=True)

    def _change(self, *, is_up: bool) -> None:
        if is_up is not self.is_up:
            self.is_up = is_up
            # Not from here: what a listener raises is the loop's to report, and must not break a reply.
            self._loop.call_soon(self._on_change, is_up)

    def _away(self) -> StoreAway:
        return StoreAway(f"the store at {self._address} is away: {self._trouble}")

    # Staying connected.

    async def _keep(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                wire = await self._connect()
            except Exception as error:  # noqa: BLE001  # this task outlives whatever a connect may raise
                self._fail(_reason(error))
                self._was_tried.set()
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            pause_s = FIRST_PAUSE_S
            self._wire, wire.owner = wire, self
            self._recover()
            self._was_tried.set()
            self._drop_unwaited()
            self._flush()
            await self._attend(wire)

    async def _connect(self) -> Wire:
        """A connection that has answered our greeting."""
        async with asyncio.timeout(max(CONNECT_S, self._timeout_s)):
            wire = await self._address.connect(lambda: Wire(self._clock))
            try:
                greeting = self._address.greeting
                futures = [self._loop.create_future() for _ in greeting]
                wire.send([pack(command) for command in greeting], [(future, math.inf) for future in futures])
                replies = await asyncio.gather(*futures, return_exceptions=True)
                _check_greeting(greeting, replies)
            except BaseException:
                wire.close("the greeting failed")
                await wire.gone.wait()
                raise
        return wire

    async def _attend(self, wire: Wire) -> None:
        """Return when the connection is lost; probe it while the breaker is open."""
        while not wire.is_closed:
            await self._stir.wait()
            self._stir.clear()
            while not (self.is_up or wire.is_closed):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PROBE_EVERY_S):
                        await self._stir.wait()
                self._stir.clear()
                if not wire.is_closed:
                    await self._probe(wire)

    async def _probe(self, wire: Wire) -> None:
        future = self._loop.create_future()
        deadline = self._clock() + self._timeout_s
        wire.send([pack(("PING",))], [(future, deadline)])
        if deadline < self._wake_at:
            self._wake(deadline)
        with contextlib.suppress(StoreError):
            await future
            self._recover()


def _check_greeting(greeting: list[Command], replies: list[Any]) -> None:
    for command, reply in zip(greeting, replies, strict=True):
        # A server that forbids CLIENT still serves; the name is for whoever reads its CLIENT LIST.
        if isinstance(reply, StoreReplyError) and command[0] != "CLIENT":
            # Not the server's own words: some quote what they refuse, and that would be the password.
            raise StoreReplyError(f"{reply.code} in answer to {command[0]!s}")
        if isinstance(reply, BaseException) and command[0] != "CLIENT":
            raise reply


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "connecting took too long"
    if isinstance(error, StoreError | OSError):
        return str(error)
    return type(error).__name__  # foreign words may hold anything
