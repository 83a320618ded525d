"""The store client: what other rooms call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from gateway.store.address import Command, parse_address
from gateway.store.errors import StoreAway, StoreError, StoreReplyError
from gateway.store.lane import Lane, pack
from gateway.store.scripts import Script

__all__ = ["Script", "State", "Store", "StoreAway", "StoreError", "StoreReplyError", "pairs"]

State = Literal["up", "away"]


class Store:
    """Calls to the store; safe to share by all tasks of one event loop.

    All calls of one loop tick leave in one write, and replies come back in order. A call is never sent
    twice: after a `StoreAway` it may or may not have run, so what must not run twice carries an id.
    `state` is "away" from five failures in a row until the server answers again (it is probed each half
    second), and before `open`: calls then fail at once.

    Args:
        url: `redis://`, `rediss://` or `unix://` (see `parse_address`); `ValueError` for anything else.
        timeout_s: how long a call waits for its reply. The control plane takes a larger one than the
            data plane.
    """

    def __init__(
        self, url: str, *, timeout_s: float = 0.1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._listeners: list[Callable[[State], None]] = []
        self._lane = Lane(parse_address(url), timeout_s=timeout_s, clock=clock, on_change=self._tell)

    @property
    def state(self) -> State:
        """Whether calls are tried ("up") or fail at once ("away")."""
        return "up" if self._lane.is_up else "away"

    def on_state(self, callback: Callable[[State], None]) -> None:
        """Call `callback` with the new state, once for each change, from the event loop."""
        self._listeners.append(callback)

    async def open(self) -> None:
        """Connect, and stay connected until `aclose`.

        Raises `StoreAway` where the first attempt fails; the client goes on trying all the same, and
        `state` tells when it got through.
        """
        await self._lane.open()

    async def aclose(self) -> None:
        """Disconnect; calls in flight raise `StoreAway`. Idempotent."""
        await self._lane.aclose()

    async def call(self, *args: str | bytes | int, timeout_s: float | None = None) -> Any:
        """Run one command. Replies are bytes, int, None, or lists of these.

        Raises `StoreAway` without a reply in time, `StoreReplyError` for an error reply.
        """
        return await self._lane_of(_key(args)).send(pack(args), timeout_s)

    async def call_many(self, commands: Sequence[Command], *, timeout_s: float | None = None) -> list[Any]:
        """Run commands in one write, each on its own: this is no transaction.

        Returns a reply for each, an error reply as a `StoreReplyError` in its place. Raises `StoreAway`
        where any reply is missing.
        """
        packed = [pack(command) for command in commands]  # all or none: what cannot be packed raises here
        return await _replies(
            [
                self._lane_of(_key(command)).send(each, timeout_s)
                for command, each in zip(commands, packed, strict=True)
            ]
        )

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
        command = pack(("EVALSHA", script.sha, len(keys), *keys, *args))
        lane = self._lane_of(keys[0] if keys else None)
        try:
            return await lane.send(command, timeout_s)
        except StoreReplyError as error:
            if error.code != "NOSCRIPT":
                raise
        loading = lane.send(pack(("SCRIPT", "LOAD", script.source)), timeout_s)
        running = lane.send(command, timeout_s)  # in the same write
        reply = (await _replies([loading, running]))[1]
        if isinstance(reply, StoreReplyError):
            raise reply
        return reply

    def _lane_of(self, key: str | bytes | int | None) -> Lane:  # noqa: ARG002  # see below
        """The lane to the server that holds `key`: with one server, its only one."""
        return self._lane

    def _tell(self, is_up: bool) -> None:
        for listener in self._listeners:
            listener("up" if is_up else "away")


def pairs(reply: list[bytes]) -> dict[bytes, bytes]:
    """A flat reply of names and values, as HGETALL gives it, as a dict."""
    return dict(zip(reply[::2], reply[1::2], strict=True))


def _key(command: Command) -> str | bytes | int | None:
    return command[1] if len(command) > 1 else None


async def _replies(futures: list[asyncio.Future[Any]]) -> list[Any]:
    replies: list[Any] = []
    try:
        for future in futures:
            try:
                replies.append(await future)
            except StoreReplyError as error:
                replies.append(error)
    finally:
        for future in futures[len(replies) :]:
            if not future.cancel() and not future.cancelled():
                future.exception()  # seen, so that the loop does not report it as never retrieved
    return replies
