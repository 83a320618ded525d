"""A new connection: open it, introduce ourselves, and see that the server is ready."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import hiredis

from gateway.store.address import Command
from gateway.store.errors import StoreAway, StoreError, StoreReplyError
from gateway.store.wire import Wire

# The stub calls the argument a tuple of one.
pack: Callable[[Command], bytes] = hiredis.pack_command  # type: ignore[assignment]  # typed loosely there

# A server that forbids these still serves: the name is for whoever reads its CLIENT LIST, and one that does
# not tell its role is taken at the word of those who sent us.
_MAY_BE_REFUSED = {"CLIENT", "ROLE"}


class Target(Protocol):
    """Where connections go: an `Address`, or something that looks for one at each connect."""

    @property
    def greeting(self) -> list[Command]:
        """The commands that a new connection starts with."""

    async def connect(self, protocol: Callable[[], Wire]) -> Wire:
        """Open a connection. Raises `OSError` or `StoreAway`."""


async def greeted(target: Target, clock: Callable[[], float]) -> Wire:
    """A connection that has answered our greeting. It waits as long as it is left to.

    Raises `OSError`, `StoreAway`, or `StoreReplyError` for a greeting that was refused.
    """
    wire = await target.connect(lambda: Wire(clock))
    try:
        greeting = target.greeting
        _check(greeting, await _say(wire, greeting))
    except BaseException:  # cancelled, too: no connection is left open
        wire.close("the greeting failed")
        await wire.gone.wait()
        raise
    return wire


async def ask(target: Target, *commands: Command, clock: Callable[[], float]) -> list[Any]:
    """The replies to some commands, on a connection made for them alone.

    Raises like `greeted`, and `StoreReplyError` where any reply is an error.
    """
    wire = await greeted(target, clock)
    try:
        replies = await _say(wire, commands)
    finally:
        wire.close("all was asked")
        await wire.gone.wait()
    for reply in replies:
        if isinstance(reply, BaseException):
            raise reply
    return replies


def reason(error: BaseException) -> str:
    """What a failed attempt to connect may say for itself."""
    if isinstance(error, TimeoutError):
        return "connecting took too long"
    if isinstance(error, StoreError | OSError):
        return str(error)
    return type(error).__name__  # foreign words may hold anything


async def _say(wire: Wire, commands: Sequence[Command]) -> list[Any]:
    loop = asyncio.get_running_loop()
    futures = [loop.create_future() for _ in commands]
    wire.waiters.extend([(future, math.inf) for future in futures])
    wire.write(b"".join([pack(command) for command in commands]))
    return await asyncio.gather(*futures, return_exceptions=True)


def _check(greeting: list[Command], replies: list[Any]) -> None:
    for command, reply in zip(greeting, replies, strict=True):
        name = command[0]
        if isinstance(reply, StoreReplyError) and name not in _MAY_BE_REFUSED:
            # Not the server's own words: some quote what they refuse, and that would be the password.
            raise StoreReplyError(f"{reply.code} in answer to {name!s}")
        if isinstance(reply, BaseException) and name not in _MAY_BE_REFUSED:
            raise reply
        if name == "ROLE" and isinstance(reply, list) and reply[0] != b"master":
            raise StoreAway("the server is a replica")
