"""Keeping a child alive: restart with backoff, replacement (the new one ready first), stop within a bound."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from gateway.supervisor.backoff import Backoff
from gateway.supervisor.children import Child, NotReady
from gateway.supervisor.output import log


class Keeper:
    """Keeps one place (`control`, `worker-0`, ...) filled.

    Args:
        name: the place's name, for the log.
        launch: starts a child for it. Raises `NotReady`.
        retire_within_s: how long a replaced child may take to finish its streams.
    """

    def __init__(self, name: str, launch: Callable[[], Child], *, retire_within_s: float = 0) -> None:
        self._name = name
        self._launch = launch
        self._retire_within_s = retire_within_s
        self._child: Child | None = None  # the one in place: it was ready, though it may have died since
        self._held: set[int] = set()  # signals that wait for a child able to take them
        self._filling = asyncio.Lock()  # a restart and a replacement never both fill the place
        self._mine: set[Child] = set()  # the one in place, those that start and those that retire
        self._retiring: dict[Child, asyncio.Task[None]] = {}
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> asyncio.Task[None]:
        """Fill the place for the first time, then keep it filled. The task returned never ends by itself.

        Raises `NotReady`.
        """
        child = await self._fill()
        self._keeping = asyncio.create_task(self._keep(child))
        return self._keeping

    def signal(self, number: int) -> None:
        """Send a signal to the child in place, or to the next one as soon as that is ready."""
        if self._child is None or self._child.process.exited.done():
            self._held.add(number)
        else:
            self._child.process.signal(number)

    async def replace(self) -> None:
        """Put a new child in place, then let the old one finish its streams.

        Raises `NotReady`; then the old one stays.
        """
        async with self._filling:
            old = self._child
            await self._fill()
        if old is not None:
            self._retiring[old] = asyncio.create_task(self._retire(old))

    async def stop(self, number: int, within_s: float) -> None:
        """Fill the place no more and end everything in it with this signal, past the bound by force."""
        if self._keeping is not None:
            self._keeping.cancel()
        await asyncio.gather(*(self._end(child, number, within_s) for child in self._mine))

    async def _keep(self, child: Child) -> None:
        backoff = Backoff()
        while True:
            await asyncio.wait({child.process.exited})
            if child is self._child:  # else it was replaced, and meant to end
                await self._restore(child, backoff)
            child = self._child or child

    async def _restore(self, dead: Child, backoff: Backoff) -> None:
        code, alive_s = dead.process.exited.result(), dead.process.alive_s
        delay_s = backoff.after(alive_s)
        log("child_exited", "warning", child=self._name, code=code, restart_in_s=delay_s)
        while True:
            await asyncio.sleep(delay_s)
            async with self._filling:
                if self._child is not dead:
                    return
                try:
                    await self._fill()
                except NotReady as error:
                    delay_s = backoff.after(0)
                    log("child_not_ready", "error", child=self._name, reason=error, restart_in_s=delay_s)
                else:
                    return

    async def _fill(self) -> Child:
        child = self._launch()
        self._mine.add(child)
        child.process.exited.add_done_callback(lambda _: self._mine.discard(child))
        await child.ready()
        log("child_ready", child=self._name, pid=child.process.pid)
        self._child = child
        while self._held:
            child.process.signal(self._held.pop())
        return child

    async def _retire(self, child: Child) -> None:
        log("child_retires", child=self._name, pid=child.process.pid)
        await self._end(child, signal.SIGUSR2, self._retire_within_s)
        del self._retiring[child]

    async def _end(self, child: Child, number: int, within_s: float) -> None:
        if number == signal.SIGTERM and child in self._retiring:
            number = 0  # it finishes its streams already; nothing new to tell
        elif number == signal.SIGINT and not child.is_ready:
            number = (
                signal.SIGTERM
            )  # ends a Python that still imports without a word; SIGINT, with a traceback
        if not await child.process.stop(number, within_s):
            log("child_killed", "warning", child=self._name, pid=child.process.pid, after_s=within_s)
