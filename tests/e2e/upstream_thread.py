"""The scripted upstream in a thread with a loop of its own, so that tests without a loop can use it."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future

from tests.support.fake_upstream import FakeUpstream, running_upstream

DEADLINE_S = 10


class Switch:
    """Something a script waits for (`until(switch.event)`), thrown by the test's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.event = asyncio.Event()
        self._loop = loop

    def throw(self) -> None:
        self._loop.call_soon_threadsafe(self.event.set)


class UpstreamThread:
    """`upstream.plays(...)` and the rest may be called from any thread."""

    def __init__(self, upstream: FakeUpstream, loop: asyncio.AbstractEventLoop) -> None:
        self.upstream = upstream
        self._loop = loop

    def switch(self) -> Switch:
        return Switch(self._loop)


@contextlib.contextmanager
def upstream_thread() -> Iterator[UpstreamThread]:
    """An upstream that serves until the block ends."""
    started: Future[tuple[UpstreamThread, asyncio.Event]] = Future()

    async def serve() -> None:
        over = asyncio.Event()
        async with running_upstream() as upstream:
            started.set_result((UpstreamThread(upstream, asyncio.get_running_loop()), over))
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    running, over = started.result(DEADLINE_S)
    try:
        yield running
    finally:
        running._loop.call_soon_threadsafe(over.set)
        thread.join(DEADLINE_S)
