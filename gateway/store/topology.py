"""Who serves a cluster: a lane to each primary, and the map that tells which of them holds a slot.

The map is what the nodes say, and of several answers the newest. It is looked at again when a call was
redirected by MOVED or refused by CLUSTERDOWN, when a lane lost its connection or its breaker opened, and four
times a second for as long as anything is amiss; one look at a time. Lanes to new primaries are made as they
appear. A lane whose node holds no slot any more is retired: what it had not sent yet is handed back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from gateway.store.address import Address, ClusterAddress
from gateway.store.errors import StoreAway
from gateway.store.greeting import ask, pack, reason
from gateway.store.lane import CONNECT_S, Lane
from gateway.store.slots import SLOTS, Node, SlotMap, read_map

LOOK_EVERY_S = 0.25  # while anything is amiss
LOOK_PAUSE_S = 0.05  # between two looks, whatever happens: each slot that moves would be worth one
LOOK_S = 0.5  # how long a node may take to tell its map

_INFO, _SLOTS = ("CLUSTER", "INFO"), ("CLUSTER", "SLOTS")


class NodeLane(Lane):
    """The lane to one primary; `node` is what the cluster calls it."""

    def __init__(
        self,
        node: Node,
        address: Address,
        *,
        timeout_s: float,
        clock: Callable[[], float],
        on_change: Callable[[bool], None],
        on_loss: Callable[[], None],
    ) -> None:
        super().__init__(address, timeout_s=timeout_s, clock=clock, on_change=on_change, on_loss=on_loss)
        self.node = node


class Topology:
    """The lanes to all primaries of a cluster.

    `is_up` where the cluster, by its own account, serves every slot, and every lane is up.

    Args:
        timeout_s: how long a call waits where it is told nothing else.
        on_change: called with the new `is_up`, once a change, from the event loop.
        make_lane: what makes a lane, with the arguments of a `NodeLane`.
    """

    def __init__(
        self,
        address: ClusterAddress,
        *,
        timeout_s: float,
        clock: Callable[[], float],
        on_change: Callable[[bool], None],
        make_lane: Callable[..., NodeLane] = NodeLane,
    ) -> None:
        self.is_up = False
        self.is_down = False  # by its own account, at the last look
        self._address = address
        self._timeout_s = timeout_s
        self._clock = clock
        self._on_change = on_change
        self._make_lane = make_lane
        self._trouble = "it was not opened"
        self._lanes: dict[Node, NodeLane] = {}
        self._by_slot: list[NodeLane | None] = [None] * SLOTS
        self._is_known = False  # the last look found a map
        self._is_complete = False  # and it has a primary for every slot
        self._retiring: dict[asyncio.Task[None], NodeLane] = {}
        self._keeper: asyncio.Task[None] | None = None
        self._was_tried = asyncio.Event()
        self._stir = asyncio.Event()

    async def open(self) -> None:
        """Look for the map, connect to all primaries, and stay connected until `aclose`.

        Raises `StoreAway` where not all of that succeeds at once; it goes on all the same.
        """
        self._keeper = asyncio.create_task(self._keep())
        await self._was_tried.wait()
        if not self.is_up:
            raise self._away()

    async def aclose(self) -> None:
        """Fail what is in flight and disconnect. Idempotent."""
        self.is_up = False
        self._trouble = "it was closed"
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])
        self._by_slot = [None] * SLOTS
        lanes, self._lanes = self._lanes, {}
        for lane in [*lanes.values(), *self._retiring.values()]:
            await lane.aclose()
        if self._retiring:
            await asyncio.wait(self._retiring)  # their calls have failed, so they end

    def lane_of(self, slot: int | None) -> NodeLane:
        """The lane to the node that holds a slot; None means any. Raises `StoreAway` where there is none."""
        lane = self._by_slot[slot] if slot is not None else self._any()
        if lane is None:
            raise self._away()
        return lane

    def lane_at(self, node: Node) -> NodeLane:
        """The lane to a node, which may be new. Raises `StoreAway` once this is closed."""
        lane = self._lanes.get(node)
        if lane is None:
            if self._keeper is None:
                raise self._away()
            lane = self._lanes[node] = self._make_lane(
                node,
                self._address.seeds[0].at(*node),
                timeout_s=self._timeout_s,
                clock=self._clock,
                on_change=self._lane_changed,
                on_loss=self.look_again,
            )
            # At the start we want to know who is there; later, calls that came here may wait to be connected.
            lane.start(is_up=self._was_tried.is_set())
        return lane

    def learn(self, slot: int, node: Node) -> NodeLane:
        """A server told that `node` holds a slot now; the lane to it. Raises like `lane_at`."""
        lane = self.lane_at(node)
        if self._by_slot[slot] is not lane:
            self._by_slot[slot] = lane
            self.look_again()
        return lane

    def look_again(self) -> None:
        """There is reason to think that the map is out of date."""
        self._stir.set()

    def _any(self) -> NodeLane | None:
        lanes = list(self._lanes.values())
        return next((lane for lane in lanes if lane.is_up), lanes[0] if lanes else None)

    def _away(self) -> StoreAway:
        lost = [lane.node for lane in self._lanes.values() if not lane.is_up]
        trouble = f"no answer from {', '.join(f'{host}:{port}' for host, port in lost)}" if lost else ""
        return StoreAway(f"the store at {self._address} is away: {self._trouble or trouble}")

    def _lane_changed(self, is_up: bool) -> None:
        self._judge()
        if not is_up:
            self.look_again()

    def _judge(self) -> None:
        is_served = self._is_complete and not self.is_down
        is_up = is_served and all(lane.is_up for lane in self._lanes.values())
        if is_up is not self.is_up:
            self.is_up = is_up
            asyncio.get_running_loop().call_soon(self._on_change, is_up)

    # Keeping the map.

    async def _keep(self) -> None:
        while True:
            self._stir.clear()
            try:
                self._adopt(await self._look())
            except Exception as error:  # noqa: BLE001  # this task outlives whatever a connect may raise
                self._is_known = False
                self._trouble = reason(error)
            if not self._was_tried.is_set():
                await asyncio.gather(*(lane.tried() for lane in self._lanes.values()))
            self._judge()
            self._was_tried.set()
            await asyncio.sleep(LOOK_PAUSE_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S if self._is_anything_amiss() else None):
                    await self._stir.wait()

    def _is_anything_amiss(self) -> bool:
        is_well = self._is_known and self._is_complete and not self.is_down
        return not (is_well and all(lane.is_connected for lane in self._lanes.values()))

    async def _look(self) -> SlotMap:
        """The newest map that the primaries know; where none is left, one that any known node knows."""
        connected = [lane for lane in self._lanes.values() if lane.is_up and lane.is_connected]
        answers = await asyncio.gather(*map(_map_on, connected), return_exceptions=True)
        if not any(isinstance(answer, SlotMap) for answer in answers):
            known = {lane.node: self._address.seeds[0].at(*lane.node) for lane in self._lanes.values()}
            known |= {(seed.host, seed.port): seed for seed in self._address.seeds}
            answers = await asyncio.gather(*map(self._map_at, known.values()), return_exceptions=True)
        maps = [answer for answer in answers if isinstance(answer, SlotMap)]
        if not maps:
            raise next(answer for answer in answers if isinstance(answer, BaseException))
        return max(maps, key=lambda each: (each.epoch, each.is_ok))

    async def _map_at(self, address: Address) -> SlotMap:
        async with asyncio.timeout(CONNECT_S):
            info, slots = await ask(address, _INFO, _SLOTS, clock=self._clock)
        return read_map(info, slots, address.host)

    def _adopt(self, fresh: SlotMap) -> None:
        by_slot: list[NodeLane | None] = [None] * SLOTS
        for node, ranges in fresh.owners.items():
            lane = self.lane_at(node)
            for first, last in ranges:
                by_slot[first : last + 1] = [lane] * (last + 1 - first)
        self._by_slot = by_slot
        self._is_known, self._is_complete, self.is_down = True, None not in by_slot, not fresh.is_ok
        self._trouble = ""
        if not self._is_complete:
            self._trouble = "not every slot has a primary"
        elif self.is_down:
            self._trouble = "the cluster says that it is down"
        for node in self._lanes.keys() - fresh.owners.keys():
            lane = self._lanes.pop(node)
            task = asyncio.create_task(lane.retire())
            self._retiring[task] = lane
            task.add_done_callback(self._retiring.pop)


async def _map_on(lane: NodeLane) -> SlotMap:
    info, slots = await asyncio.gather(lane.send(pack(_INFO), LOOK_S), lane.send(pack(_SLOTS), LOOK_S))
    return read_map(info, slots, lane.node[0])
