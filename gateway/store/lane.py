"""One server, kept in reach: a connection that comes back by itself, and a breaker for when it does not.

All calls of one loop tick leave in one write: `send` only appends, the first of a tick schedules `_flush`.

The breaker. A lane is up or away; away, calls fail at once.

    up    --five failures in a row-->                 away
    away  --a new connection answers our greeting-->  up
    away  --the old connection answers a PING-->      up   (one each `PROBE_EVERY_S`)

A failure is a call without a reply in time, an attempt to connect that failed, or a LOADING reply. A lost
connection is none: the attempt that follows at once tells how the server is. While the lane is up without a
connection, calls wait for the next one, each for as long as it would have waited for its reply.

A READONLY reply comes from a primary that was demoted: the connection is given up, and the next one goes to
whoever has the address now.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from typing import Any

from gateway.store.errors import StoreAway, StoreError, StoreReplyError
from gateway.store.greeting import Target, greeted, pack, reason
from gateway.store.wire import Waiter, Wire

FAILURES_TO_OPEN = 5
PROBE_EVERY_S = 0.5
CONNECT_S = 1.0  # a greeting may cross a region and a TLS handshake, so it gets more than one call does
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
SILENT_TIMEOUTS = 3  # a connection silent for that many timeouts is given up
READONLY_S = 1.0  # a younger connection is kept: looking again would find the same replica
LATE_S = 0.02  # a timer this late tells that the loop was busy, not the store
TIMER_STEP_S = 0.002  # loops count timers in milliseconds; a shorter one would spin
HOLD_S = 0.002  # the longest that a call is kept back for the replies of the write before it


class NotSent(StoreAway):
    """The call never left, so it may be given to another lane."""


class Lane:
    """The way to one server: a connection, the calls on it, its timer and its breaker.

    Args:
        timeout_s: how long a call waits where `send` is told nothing else.
        on_change: called with the new `is_up`, once a change, from the event loop.
        on_loss: called when a connection was lost, or an attempt to make one failed.
    """

    def __init__(
        self,
        target: Target,
        *,
        timeout_s: float,
        clock: Callable[[], float],
        on_change: Callable[[bool], None],
        on_loss: Callable[[], None] = lambda: None,
    ) -> None:
        self.is_up = False
        self._target = target
        self._timeout_s = timeout_s
        self._clock = clock
        self._on_change = on_change
        self._on_loss = on_loss
        self._trouble = "it was not opened"
        self._away_as: type[StoreAway] = StoreAway
        self._failures = 0
        self._wire: Wire | None = None
        self._connected_at = -math.inf
        self._queue: list[Waiter] = []
        self._packed: list[bytes] = []
        self._sent_at = -math.inf
        self._hold: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wake_at = math.inf
        self._was_excused = False
        self._loop: asyncio.AbstractEventLoop
        self._keeper: asyncio.Task[None] | None = None
        self._was_tried = asyncio.Event()
        self._stir = asyncio.Event()

    @property
    def is_connected(self) -> bool:
        """Whether calls leave with the next write; a lane that is up without it keeps them for a while."""
        return self._wire is not None

    async def open(self) -> None:
        """Connect, and stay connected until `aclose`.

        Raises `StoreAway` where the first attempt fails; the lane goes on trying all the same.
        """
        self.start(is_up=False)
        await self.tried()
        if not self.is_up:
            raise self._away()

    def start(self, *, is_up: bool) -> None:
        """Connect behind the scenes; `is_up` tells whether calls may wait for the first attempt."""
        self.is_up = is_up
        self._loop = asyncio.get_running_loop()
        self._keeper = asyncio.create_task(self._keep())

    async def tried(self) -> None:
        """Return when the first attempt to connect has ended."""
        await self._was_tried.wait()

    async def retire(self) -> None:
        """Take no more calls: unsent ones fail with `NotSent`, the others have their replies; then close."""
        self.is_up = False
        self._trouble = "it was retired"
        self._away_as = NotSent
        self._drop_queue()
        try:
            waiting = (
                [] if self._wire is None else [each for each, _ in self._wire.waiters if not each.done()]
            )
            if waiting:
                await asyncio.wait(waiting)
        finally:
            await self.aclose()

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
        for timer in (self._timer, self._hold):
            if timer is not None:
                timer.cancel()
        self._drop_queue()

    def check(self) -> None:
        """Raise `StoreAway` where a call would fail at once."""
        if not self.is_up:
            raise self._away()

    def send(self, packed: bytes, timeout_s: float | None = None) -> asyncio.Future[Any]:
        """Send a packed command with the next write; the future is its reply.

        The future fails with `StoreReplyError` or `StoreAway`. Raises `StoreAway` while the lane is away.
        """
        if not self.is_up:
            raise self._away()
        future = self._loop.create_future()
        deadline = self._clock() + (self._timeout_s if timeout_s is None else timeout_s)
        if not self._packed:
            self._loop.call_soon(self._flush)
        self._queue.append((future, deadline))
        self._packed.append(packed)
        if deadline < self._wake_at:
            self._wake(deadline)
        return future

    # What the wire tells.

    def refused(self, error: StoreReplyError) -> None:
        """The server is still loading its data, or no longer a primary."""
        if error.code != "READONLY":
            self._fail(str(error))
        elif self._wire is not None and self._clock() - self._connected_at > READONLY_S:
            # Not from here, where the wire is still reading: replies of the same write may follow.
            self._loop.call_soon(self._wire.close, "the server is a replica now; the call may have run")

    def lost(self, why: str) -> None:
        """The connection is gone: look for the next one."""
        self._look_for_answers()
        self._wire = None
        self._trouble = why
        self._stir.set()
        self._on_loss()

    # Sending and giving up.

    def _flush(self) -> None:
        """Write what is queued, or keep it for a moment while the replies of the last write are on their way.

        So calls join in one write as long as the server takes for the one before: under load a few writes
        carry everything, and a lane that is at rest waits for nothing.
        """
        wire, packed = self._wire, self._packed
        if wire is None or not packed:
            return
        now = self._clock()
        if wire.waiters and now < self._sent_at + HOLD_S:
            wire.when_heard = self._flush_soon
            if self._hold is None:
                self._hold = self._loop.call_later(HOLD_S, self._end_hold)
            return
        if self._hold is not None:
            self._hold.cancel()
            self._hold = None
        self._sent_at = now
        wire.waiters.extend(self._queue)
        wire.write(b"".join(packed))  # of one it is the same bytes, uncopied
        self._queue, self._packed = [], []

    def _flush_soon(self) -> None:
        self._loop.call_soon(self._flush)  # behind those whom the replies have woken

    def _end_hold(self) -> None:
        self._hold = None
        self._sent_at = -math.inf
        self._flush()

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
            future.set_exception(StoreAway(f"the store at {self._target} did not answer {where}"))
            # Without a connection, why there is none says more.
            self._fail("it did not answer in time" if wire is not None else self._trouble)
        if wire is None:
            self._drop_unwaited()
        elif wire.waiters:
            # Late replies are a sign of life too: only a connection that brings nothing at all is given up.
            silent_at = max(wire.waiters[0][1], wire.heard_at + self._timeout_s)
            silent_at += self._timeout_s * (SILENT_TIMEOUTS - 1)
            if silent_at <= now + TIMER_STEP_S:
                wire.close(f"the store at {self._target} fell silent; the call may have run")
            else:
                next_at = min(next_at, silent_at)
        if next_at < math.inf:
            self._wake(next_at)

    def _drop_queue(self) -> None:
        for future, _ in self._queue:
            if not future.done():
                future.set_exception(self._away())
        self._queue, self._packed = [], []

    def _drop_unwaited(self) -> None:
        """Forget the queued calls that have failed or were cancelled: they must not run later."""
        kept = [pair for pair in zip(self._queue, self._packed, strict=True) if not pair[0][0].done()]
        self._queue = [waiter for waiter, _ in kept]
        self._packed = [packed for _, packed in kept]

    # The breaker.

    def _fail(self, why: str) -> None:
        self._trouble = why
        self._look_for_answers()
        self._failures += 1
        if self._failures >= FAILURES_TO_OPEN:
            self._change(is_up=False)
            self._stir.set()

    def _look_for_answers(self) -> None:
        """Failures with an answer behind them are not in a row with those to come."""
        if self._wire is not None and self._wire.has_answered:
            self._wire.has_answered = False
            self._failures = 0

    def _recover(self) -> None:
        self._failures = 0
        self._change(is_up=True)

    def _change(self, *, is_up: bool) -> None:
        if is_up is not self.is_up:
            self.is_up = is_up
            # Not from here: what a listener raises is the loop's to report, and must not break a reply.
            self._loop.call_soon(self._on_change, is_up)

    def _away(self) -> StoreAway:
        return self._away_as(f"the store at {self._target} is away: {self._trouble}")

    # Staying connected.

    async def _keep(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                wire = await self._connect()
            except Exception as error:  # noqa: BLE001  # this task outlives whatever a connect may raise
                self._fail(reason(error))
                self._was_tried.set()
                self._on_loss()
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            pause_s = FIRST_PAUSE_S
            self._wire, wire.owner = wire, self
            self._connected_at = self._clock()
            self._recover()
            self._was_tried.set()
            self._drop_unwaited()
            self._flush()
            await self._attend(wire)

    async def _connect(self) -> Wire:
        async with asyncio.timeout(max(CONNECT_S, self._timeout_s)):
            return await greeted(self._target, self._clock)

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
        wire.waiters.append((future, deadline))
        wire.write(pack(("PING",)))
        if deadline < self._wake_at:
            self._wake(deadline)
        with contextlib.suppress(StoreError):
            await future
            self._recover()
