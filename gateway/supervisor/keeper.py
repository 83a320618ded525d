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
        launch: starts a child for it, told why. Raises `NotReady`.
        retire_within_s: how long a replaced child may take to finish its streams.
        optional: the rest serves without it: a first start that fails is tried again like any other.
    """

    def __init__(
        self,
        name: str,
        launch: Callable[[str], Child],
        *,
        retire_within_s: float = 0,
        optional: bool = False,
    ) -> None:
        self.name = name
        self._launch = launch
        self._retire_within_s = retire_within_s
        self._optional = optional
        self._child: Child | None = None  # the one in place: it was ready, though it may have died since
        self._held: set[int] = set()  # signals that wait for a child able to take them
        self._filling = asyncio.Lock()  # a restart and a replacement never both fill the place
        self._mine: set[Child] = set()  # the one in place, those that start and those that retire
        self._retiring: dict[Child, asyncio.Task[None]] = {}
        self._ended = asyncio.Event()  # one of them has, perhaps the one in place
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> asyncio.Task[None]:
        """Fill the place for the first time, then keep it filled. The task returned never ends by itself.

        Raises `NotReady`, unless the place is optional.
        """
        backoff = Backoff()
        failure: NotReady | None = None
        try:
            await self._fill("start")
        except NotReady as error:
            if not self._optional:
                raise
            failure = error
        self._keeping = asyncio.create_task(self._keep(backoff, failure))
        return self._keeping

    def signal(self, number: int) -> None:
        """Send a signal to the child in place, or to the next one as soon as that is ready."""
        if self._child is None or self._child.process.exited.done():
            self._held.add(number)
        else:
            self._child.process.signal(number)

    @property
    def child(self) -> Child | None:
        """The one in place, if it lives."""
        return None if self._child is None or self._child.process.exited.done() else self._child

    @property
    def children(self) -> list[Child]:
        """All of its processes: the one in place, those that start and those that retire."""
        return list(self._mine)

    @property
    def is_retiring(self) -> bool:
        """Whether a replaced child has not ended yet."""
        return bool(self._retiring)

    async def replace(self, because: str, only: Child | None = None) -> None:
        """Put a new child in place, then let the old one finish its streams.

        Args:
            because: the reason, for the log and the new one.
            only: do nothing where another one than this is in place meanwhile.

        Raises `NotReady`; then the old one stays.
        """
        async with self._filling:
            old = self._child
            if only is not None and only is not old:
                return
            await self._fill(because)
        if old is not None:
            self._retiring[old] = asyncio.create_task(self._retire(old))

    def end_unresponsive(self, child: Child) -> None:
        """End one of its processes that does nothing any more; its place is filled again."""
        child.end_is = "unresponsive"
        child.pulse.silent_s = None  # it is judged; one that waits for a disk dies later
        child.process.signal(signal.SIGKILL)

    async def stop(self, number: int, within_s: float) -> None:
        """Fill the place no more and end everything in it with this signal, past the bound by force."""
        if self._keeping is not None:
            self._keeping.cancel()
        await asyncio.gather(*(self._end(child, number, within_s) for child in self._mine))

    async def _keep(self, backoff: Backoff, failure: NotReady | None) -> None:
        if failure is not None:
            delay_s = backoff.after(0)
            log("child_not_ready", "error", child=self.name, reason=failure, restart_in_s=delay_s)
            await self._refill(None, "start", delay_s, backoff)
        while True:
            await self._ended.wait()
            self._ended.clear()
            child = self._child
            if child is not None and child.process.exited.done():  # else one that was meant to end
                await self._restore(child, backoff)

    async def _restore(self, dead: Child, backoff: Backoff) -> None:
        code, alive_s = dead.process.exited.result(), dead.process.alive_s
        delay_s = backoff.after(alive_s)
        because = dead.end_is
        log("child_exited", "warning", child=self.name, code=code, because=because, restart_in_s=delay_s)
        await self._refill(dead, because, delay_s, backoff)

    async def _refill(self, dead: Child | None, because: str, delay_s: float, backoff: Backoff) -> None:
        while True:
            await asyncio.sleep(delay_s)
            async with self._filling:
                if self._child is not dead:
                    return
                try:
                    await self._fill(because)
                except NotReady as error:
                    delay_s = backoff.after(0)
                    log("child_not_ready", "error", child=self.name, reason=error, restart_in_s=delay_s)
                else:
                    return

    async def _fill(self, because: str) -> Child:
        child = self._launch(because)
        self._mine.add(child)
        child.process.exited.add_done_callback(lambda _: self._forget(child))
        await child.ready()
        log("child_ready", child=self.name, pid=child.process.pid, because=because)
        self._child = child
        while self._held:
            child.process.signal(self._held.pop())
        return child

    def _forget(self, child: Child) -> None:
        self._mine.discard(child)
        self._ended.set()

    async def _retire(self, child: Child) -> None:
        log("child_retires", child=self.name, pid=child.process.pid)
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
            log("child_killed", "warning", child=self.name, pid=child.process.pid, after_s=within_s)
