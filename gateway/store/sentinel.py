"""The primary behind sentinels: who it is, asked anew at each connect.

A lane connects to it as to any server. When it goes, or says that it is a replica now, the lane connects
again, and thereby asks again: that is all that a failover takes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from gateway.store.address import Address, Command, SentinelAddress
from gateway.store.errors import StoreAway
from gateway.store.greeting import ask, reason
from gateway.store.wire import Wire

ASK_S = 0.5  # for one sentinel; the others are asked at the same time


class Primary:
    """A target for a lane: the server that the sentinels name. Its greeting refuses a replica."""

    def __init__(self, address: SentinelAddress, *, clock: Callable[[], float]) -> None:
        self._address = address
        self._clock = clock

    def __str__(self) -> str:
        return str(self._address)

    @property
    def greeting(self) -> list[Command]:
        """The server's own, and a question for its role: sentinels are some seconds behind the truth."""
        *introduction, ping = self._address.server.greeting
        return [*introduction, ("ROLE",), ping]

    async def connect(self, protocol: Callable[[], Wire]) -> Wire:
        """Open a connection to the primary. Raises `OSError`, or `StoreAway` where no sentinel names one."""
        return await (await self.find()).connect(protocol)

    async def find(self) -> Address:
        """The primary as most sentinels have it.

        The vote ends as soon as nothing can change it. One sentinel alone is not believed while others
        answer: cut off from them, it may still name the primary of yesterday.
        """
        sentinels = self._address.sentinels
        votes: Counter[tuple[str, int]] = Counter()
        trouble = ""
        asking = [asyncio.create_task(self._ask(sentinel)) for sentinel in sentinels]
        try:
            for answer in asyncio.as_completed(asking):
                named, why = await answer
                trouble = why or trouble
                if named is not None:
                    votes[named] += 1
                    if 2 * votes[named] > len(sentinels):
                        break
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        if not votes:
            raise StoreAway(trouble)
        return self._address.server.at(*votes.most_common(1)[0][0])

    async def _ask(self, sentinel: Address) -> tuple[tuple[str, int] | None, str]:
        """Host and port that a sentinel names, or why it does not."""
        question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._address.service)
        try:
            async with asyncio.timeout(ASK_S):
                (named,) = await ask(sentinel, question, clock=self._clock)
        except Exception as error:  # noqa: BLE001  # whatever it is, the other sentinels decide
            return None, f"sentinel {sentinel.host_and_port}: {reason(error)}"
        if named is None:
            return None, f"sentinel {sentinel.host_and_port} knows no service {self._address.service!r}"
        return (named[0].decode(), int(named[1])), ""
