"""Lanes whose calls count only once replicas hold what they wrote.

Calls that come while others are on their way wait for these and then leave together, one WAIT behind them:

    idle --a call--> under way: [calls, WAIT n] in one write --all replies--> idle, or the next ones at once

    WAIT says             calls
    n replicas or more    have their replies
    fewer                 fail with `NotReplicated`: the server ran them, and may lose them with itself

While replicas are behind or gone, each WAIT would hold up all that come after it for as long as it may take.
So after one that fell short calls fail as soon as the server ran them, and one in `DOUBT_S` waits again.

WAIT holds up its connection, so these lanes are for settlements alone: nobody else's calls stand behind it.
It knows of the writes of its own connection only: what runs here must write something even where it has
nothing to say, or WAIT would speak of nothing (`settle.lua` does).
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import Any

from gateway.store.errors import StoreAway
from gateway.store.greeting import pack
from gateway.store.lane import Lane
from gateway.store.topology import NodeLane

DOUBT_S = 0.5
SLACK_S = 0.1
"""How much longer than WAIT itself we wait for what it says."""


class NotReplicated(StoreAway):
    """The server ran the call, but too few replicas have it: a failover may lose it."""


@dataclass(frozen=True, slots=True)
class Replication:
    """How many replicas must hold a write, and how long they may take for it."""

    replicas: int
    within_s: float


@dataclass(slots=True)
class _Held:
    """A call whose reply is held until replicas have it."""

    packed: bytes
    reply: asyncio.Future[Any]
    deadline: float


class ReplicatedLane(Lane):
    """A lane to one server; its arguments are a lane's, and `replication`."""

    def __init__(self, *place: Any, replication: Replication, **options: Any) -> None:
        super().__init__(*place, **options)
        self._replication = replication
        self._held: list[_Held] = []
        self._committing: asyncio.Task[None] | None = None
        self._doubtful_until = -math.inf

    def send(self, packed: bytes, timeout_s: float | None = None) -> asyncio.Future[Any]:
        """Like a lane's; the future fails with `NotReplicated` where too few replicas have it in time."""
        self.check()
        reply = self._loop.create_future()
        deadline = self._clock() + (self._timeout_s if timeout_s is None else timeout_s)
        self._held.append(_Held(packed, reply, deadline))
        if self._committing is None:
            self._committing = self._loop.create_task(self._commit())
        return reply

    async def aclose(self) -> None:
        """Fail what is in flight and disconnect. Idempotent."""
        await super().aclose()
        if self._committing is not None:
            await asyncio.wait([self._committing])

    def _drop_queue(self) -> None:
        super()._drop_queue()
        for held in self._held:
            if not held.reply.done():
                held.reply.set_exception(self._away())
        self._held = []

    async def _commit(self) -> None:
        while self._held:
            group, self._held = self._held, []
            await self._commit_group(group)
        self._committing = None  # nothing came in between: nothing was awaited

    async def _commit_group(self, group: list[_Held]) -> None:
        now = self._clock()
        waited: list[_Held] = []
        for held in group:
            if held.reply.done():
                continue
            if held.deadline > now:
                waited.append(held)
            else:
                held.reply.set_exception(
                    StoreAway(f"the store at {self._target} had no time for it: not sent")
                )
        if not waited:
            return
        if not self.is_up:  # it went away since they came
            for held in waited:
                held.reply.set_exception(self._away())
            return
        is_doubtful = now < self._doubtful_until
        sent = [Lane.send(self, held.packed, held.deadline - now) for held in waited]
        if not is_doubtful:
            left_s = min(self._replication.within_s, *(held.deadline - now for held in waited))
            wait_ms = max(1, int(left_s * 1000))
            wait = pack(("WAIT", self._replication.replicas, wait_ms))
            sent.append(Lane.send(self, wait, wait_ms / 1000 + SLACK_S))
        await asyncio.wait(sent)
        trouble = "replicas were behind a moment ago" if is_doubtful else self._judge(sent.pop())
        for held, reply in zip(waited, sent, strict=True):
            _hand_over(reply, held.reply, trouble)

    def _judge(self, waiting: asyncio.Future[Any]) -> str:
        """What is wrong with the replicas, by what WAIT said; "" where nothing is."""
        error = waiting.exception()
        has_it = waiting.result() if error is None else 0
        if has_it >= self._replication.replicas:
            return ""
        self._doubtful_until = self._clock() + DOUBT_S
        return f"{has_it} replicas of {self._replication.replicas} have it" if error is None else str(error)


class ReplicatedNodeLane(ReplicatedLane, NodeLane):
    """The same to one primary of a cluster."""


def _hand_over(reply: asyncio.Future[Any], to: asyncio.Future[Any], trouble: str) -> None:
    error = reply.exception()
    if to.done():
        return
    if error is not None:
        to.set_exception(error)
    elif trouble:
        to.set_exception(NotReplicated(f"too few replicas: {trouble}"))
    else:
        to.set_result(reply.result())
