"""The store client: what other rooms call."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Literal, Protocol

from gateway.store.address import ClusterAddress, Command, SentinelAddress, parse_address
from gateway.store.cluster import Cluster
from gateway.store.errors import StoreAway, StoreError, StoreReplyError, is_unknown_script
from gateway.store.greeting import pack
from gateway.store.lane import Lane
from gateway.store.replicated import NotReplicated, ReplicatedLane, ReplicatedNodeLane, Replication
from gateway.store.scripts import Script
from gateway.store.sentinel import Primary
from gateway.store.slots import slot_of, slot_of_key
from gateway.store.topology import NodeLane, Topology
from gateway.store.wire import outcomes

__all__ = [
    "NotReplicated",
    "Replication",
    "Script",
    "State",
    "Store",
    "StoreAway",
    "StoreError",
    "StoreReplyError",
    "pairs",
    "settling_store",
]

State = Literal["up", "away"]


class Way(Protocol):
    """How packed calls go to their server."""

    def __call__(self, packed: bytes, timeout_s: float | None = None) -> Awaitable[Any]:
        """Send a call; the reply is what is awaited. Raises `StoreAway` at once where the store is away."""


class Store:
    """Calls to the store; safe to share by all tasks of one event loop.

    All calls of one loop tick to one server leave in one write. A call is never sent twice, unless a server
    said that it did not run it: after a `StoreAway` it may or may not have run, so what must not run twice
    carries an id.

    `state` is "away" from five failures in a row until the server answers again (it is probed each half
    second), and before `open`: calls then fail at once. On a cluster that holds for each server by itself:
    calls to the slots of one that is away fail, all others go on. `state` is then "away" as long as any of
    them is, or the cluster itself says that it is down; so ask by calling, not by `state`, whether one key
    can be served.

    On a cluster a command goes to the node of its first key, and a script's keys share a slot: that is for
    their hash tags to see to.

    Args:
        url: of one server, a cluster or sentinels (see `parse_address`); `ValueError` for anything else.
        timeout_s: how long a call waits for its reply. The control plane takes a larger one than the
            data plane.
        replication: where given, a call has its reply only once so many replicas hold what it wrote, and
            raises `NotReplicated` otherwise. Such a client is for writes alone (`replicated.py`).
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 0.1,
        clock: Callable[[], float] = time.monotonic,
        replication: Replication | None = None,
    ) -> None:
        self._listeners: list[Callable[[State], None]] = []
        self._cluster: Cluster | None = None
        self._lane: Lane  # without a cluster
        self._servers: Lane | Topology
        address = parse_address(url)
        if isinstance(address, ClusterAddress):
            make_node_lane: Callable[..., NodeLane] = NodeLane
            if replication is not None:
                make_node_lane = partial(ReplicatedNodeLane, replication=replication)
            self._cluster = Cluster(
                address, timeout_s=timeout_s, clock=clock, on_change=self._tell, make_lane=make_node_lane
            )
            self._servers = self._cluster.topology
        else:
            make_lane: Callable[..., Lane] = Lane
            if replication is not None:
                make_lane = partial(ReplicatedLane, replication=replication)
            target = Primary(address, clock=clock) if isinstance(address, SentinelAddress) else address
            self._servers = self._lane = make_lane(
                target, timeout_s=timeout_s, clock=clock, on_change=self._tell
            )

    @property
    def state(self) -> State:
        """Whether calls are tried ("up") or fail at once ("away")."""
        return "up" if self._servers.is_up else "away"

    def on_state(self, callback: Callable[[State], None]) -> None:
        """Call `callback` with the new state, once for each change, from the event loop."""
        self._listeners.append(callback)

    async def open(self) -> None:
        """Connect, and stay connected until `aclose`.

        Raises `StoreAway` where the first attempt fails; the client goes on trying all the same, and
        `state` tells when it got through.
        """
        await self._servers.open()

    async def aclose(self) -> None:
        """Disconnect; calls in flight raise `StoreAway`. Idempotent."""
        await self._servers.aclose()

    async def call(self, *args: str | bytes | int, timeout_s: float | None = None) -> Any:
        """Run one command. Replies are bytes, int, None, or lists of these.

        Raises `StoreAway` without a reply in time, `StoreReplyError` for an error reply.
        """
        packed = pack(args)
        if self._cluster is None:
            return await self._lane.send(packed, timeout_s)
        return await self._cluster.call(slot_of(args), packed, timeout_s)

    async def call_many(self, commands: Sequence[Command], *, timeout_s: float | None = None) -> list[Any]:
        """Run commands in one write a server, each on its own: this is no transaction.

        Returns a reply for each, an error reply as a `StoreReplyError` in its place. Raises `StoreAway`
        where any reply is missing. One server runs them in their order; on a cluster, those that it
        redirects run after the others.
        """
        packed = [pack(command) for command in commands]  # all or none: what cannot be packed raises here
        if self._cluster is None:
            return await outcomes([self._lane.send(each, timeout_s) for each in packed])
        return await self._cluster.call_many(commands, packed, timeout_s)

    async def script(
        self,
        script: Script,
        keys: Sequence[str | bytes],
        args: Sequence[str | bytes | int],
        *,
        timeout_s: float | None = None,
    ) -> Any:
        """Run a script by its hash; a server that does not know it is given its text first.

        Raises like `call`.
        """
        command = ("EVALSHA", script.sha, len(keys), *keys, *args)
        return await self.run(script, keys[0] if keys else None, pack(command), timeout_s)

    async def run(
        self, script: Script, key: str | bytes | None, packed: bytes, timeout_s: float | None = None
    ) -> Any:
        """The same for a call that is packed already; `key` is its first one."""
        try:
            return await self.way(script, key)(packed, timeout_s)
        except StoreReplyError as error:
            if not is_unknown_script(error) or self._cluster is not None:  # its nodes were told at once
                raise
        lane = self._lane
        loading = lane.send(pack(("SCRIPT", "LOAD", script.source)), timeout_s)
        running = lane.send(packed, timeout_s)  # in the same write
        reply = (await outcomes([loading, running]))[1]
        if isinstance(reply, StoreReplyError):
            raise reply
        return reply

    def way(self, script: Script, key: str | bytes | None) -> Way:
        """How packed calls of a script go whose first key is this one; for whoever makes many of them.

        What it returns raises like `call`. What `is_unknown_script` is for `run` to mend.
        """
        if self._cluster is None:
            return self._lane.send
        slot = None if key is None else slot_of_key(key)
        return partial(self._cluster.call, slot, script=script)

    def _tell(self, is_up: bool) -> None:
        for listener in self._listeners:
            listener("up" if is_up else "away")


def settling_store(url: str, *, replicas: int, within_s: float) -> Store | None:
    """A client for settlements that must stand on so many replicas; None where that is 0.

    Args:
        within_s: how long replicas may take, `store.settle_timeout_ms`.
    """
    if not replicas:
        return None
    return Store(url, timeout_s=within_s, replication=Replication(replicas, within_s))


def pairs(reply: list[bytes]) -> dict[bytes, bytes]:
    """A flat reply of names and values, as HGETALL gives it, as a dict."""
    return dict(zip(reply[::2], reply[1::2], strict=True))
