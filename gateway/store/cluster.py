"""Calls to a cluster: each goes to the node of its key, and follows where the nodes send it.

A call is sent again only where it certainly did not run, and all within the time that it had from the first:

    MOVED        to the node named, which the map then has for that slot
    ASK          to the node named, ASKING in the same write; the map stays
    TRYAGAIN     its keys are on both sides of a slot on its way: again by the map, after `AGAIN_S`
    CLUSTERDOWN  the same; not where the map says that the cluster is down, then nobody waits
    NOSCRIPT     to the same node, the script's text in the same write: each node knows its own scripts
    not sent     its lane was retired: again by the map

After a lost connection or a timeout it is never sent again. Replicas are never asked. What this module makes
of replies, `topology.py` makes of nodes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.store.address import ClusterAddress, Command
from gateway.store.errors import StoreAway, StoreReplyError, is_unknown_script
from gateway.store.greeting import pack
from gateway.store.lane import NotSent
from gateway.store.scripts import Script
from gateway.store.slots import read_redirection, slot_of
from gateway.store.topology import NodeLane, Topology
from gateway.store.wire import outcomes

AGAIN_S = 0.01
HOPS = 5  # redirections in a row, then a call pauses: nodes that disagree send it back and forth

_ASKING = pack(("ASKING",))
_ASTRAY = {"MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"}


@dataclass(slots=True)
class _Call:
    """A call that is on its way for longer than usual.

    Args:
        lane: where it was sent last.
        deadline: when it gives up, by the clock.
        script: what it runs, for a node that does not know it.
    """

    slot: int | None
    packed: bytes
    lane: NodeLane
    deadline: float
    script: Script | None = None
    is_asking: bool = False
    is_loading: bool = False
    hops: int = 0


class Cluster:
    """The calls to a cluster. Its `topology` is for whoever made it to open, close and watch."""

    def __init__(
        self,
        address: ClusterAddress,
        *,
        timeout_s: float,
        clock: Callable[[], float],
        on_change: Callable[[bool], None],
        make_lane: Callable[..., NodeLane] = NodeLane,
    ) -> None:
        self.topology = Topology(
            address, timeout_s=timeout_s, clock=clock, on_change=on_change, make_lane=make_lane
        )
        self._address = address
        self._timeout_s = timeout_s
        self._clock = clock

    async def call(
        self, slot: int | None, packed: bytes, timeout_s: float | None = None, script: Script | None = None
    ) -> Any:
        """Run one command on the node of a slot, that of its first key; None for one without keys.

        Raises `StoreAway`, also where the cluster does not serve that slot in time; `StoreReplyError` for any
        other error reply.

        Args:
            script: what this command runs, for a node that does not know it.
        """
        deadline = self._deadline(timeout_s)
        lane = self.topology.lane_of(slot)
        try:
            return await lane.send(packed, timeout_s)
        except (StoreReplyError, NotSent) as error:
            return await self._go_on(_Call(slot, packed, lane, deadline, script), error)

    async def call_many(
        self, commands: Sequence[Command], packed: Sequence[bytes], timeout_s: float | None
    ) -> list[Any]:
        """Run each command on the node of its first key, in one write a node.

        Error replies come in their places. Those that are redirected run after the others, whatever their
        order. Raises `StoreAway` where any reply is missing.
        """
        deadline = self._deadline(timeout_s)
        calls: list[_Call] = []
        for command, each in zip(commands, packed, strict=True):
            slot = slot_of(command)
            lane = self.topology.lane_of(slot)
            lane.check()  # before anything is sent
            calls.append(_Call(slot, each, lane, deadline))
        sent = [call.lane.send(call.packed, timeout_s) for call in calls]
        replies = await outcomes(sent, (StoreReplyError, NotSent))
        astray = [place for place, reply in enumerate(replies) if _is_astray(reply)]
        if astray:
            going = [asyncio.ensure_future(self._go_on(calls[place], replies[place])) for place in astray]
            for place, reply in zip(astray, await outcomes(going), strict=True):
                replies[place] = reply
        return replies

    def _deadline(self, timeout_s: float | None) -> float:
        return self._clock() + (self._timeout_s if timeout_s is None else timeout_s)

    async def _go_on(self, call: _Call, error: StoreReplyError | NotSent) -> Any:
        """What comes of a call after its first attempt ended in `error`. Raises like `call`."""
        while True:
            await self._turn(call, error)
            left_s = call.deadline - self._clock()
            if left_s <= 0:
                raise StoreAway(f"the store at {self._address} did not serve it in time: {error}") from error
            try:
                return await _attempt(call, left_s)
            except (StoreReplyError, NotSent) as another:
                error = another

    async def _turn(self, call: _Call, error: StoreReplyError | NotSent) -> None:
        """Point a call to where it goes next. Raises `error` where that is nowhere, or `StoreAway`."""
        if is_unknown_script(error) and call.script is not None and not call.is_loading:
            call.is_loading = True
            return
        if not _is_astray(error):
            raise error
        place = read_redirection(str(error), call.lane.node[0])
        call.hops += 1
        if place is not None:
            call.slot = place.slot  # ours was wrong where the first argument is no key
            if not place.is_ask:
                self.topology.learn(place.slot, place.node)
        elif isinstance(error, StoreReplyError) and error.code != "TRYAGAIN":
            self.topology.look_again()
            if self.topology.is_down:
                raise StoreAway(f"the store at {self._address} is away: {error}") from error
        if call.hops > HOPS or not (place or isinstance(error, NotSent)):
            await asyncio.sleep(AGAIN_S)
        call.is_loading = False
        call.is_asking = place is not None and place.is_ask
        if place is not None and place.is_ask:
            call.lane = self.topology.lane_at(place.node)
        else:
            call.lane = self.topology.lane_of(call.slot)


async def _attempt(call: _Call, left_s: float) -> Any:
    """Send a call, with what has to come before it in the same write. Raises like `Cluster.call`."""
    commands = [call.packed]
    if call.is_asking:
        commands.insert(0, _ASKING)  # right before it: it is for the next command only
    if call.is_loading and call.script is not None:
        commands.insert(0, pack(("SCRIPT", "LOAD", call.script.source)))
    reply = (await outcomes([call.lane.send(command, left_s) for command in commands]))[-1]
    if isinstance(reply, StoreReplyError):
        raise reply
    return reply


def _is_astray(outcome: Any) -> bool:
    """Whether a call certainly did not run and may succeed elsewhere or later."""
    return isinstance(outcome, NotSent) or (isinstance(outcome, StoreReplyError) and outcome.code in _ASTRAY)
