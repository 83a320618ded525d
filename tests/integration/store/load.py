"""Calls that flow while something happens to the store."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from gateway.store.client import Script, Store, StoreAway, StoreReplyError
from tests.support.polling import until

ADD = Script.of("add", "return redis.call('INCRBY', KEYS[1], ARGV[1])")


class Load:
    """Callers that count keys up, by a command and by a script in turn.

    `counted` is how often each key was, as far as we were told; `errors` are those of each key.
    """

    def __init__(self, store: Store, keys: list[str], *, pause_s: float = 0) -> None:
        self.counted: Counter[str] = Counter()
        self.errors: dict[str, Counter[str]] = {key: Counter() for key in keys}
        self._store = store
        self._pause_s = pause_s
        self._is_over = False

    @asynccontextmanager
    async def flowing(self, callers: int = 4) -> AsyncIterator[Self]:
        """Let calls flow, those to one key by `callers` that wait for no other key."""
        tasks = [asyncio.create_task(self._call(key, n)) for key in self.errors for n in range(callers)]
        try:
            yield self
        finally:
            self._is_over = True
            await asyncio.gather(*tasks)

    async def further(self, calls: int, key: str | None = None) -> None:
        """Return after that many more calls of a key, or of all together, have succeeded."""

        def count() -> int:
            return self.counted.total() if key is None else self.counted[key]

        target = count() + calls
        await until(lambda: count() >= target, "calls", within_s=20)

    async def _call(self, key: str, number: int) -> None:
        while not self._is_over:
            number += 1
            try:
                if number % 2:
                    await self._store.script(ADD, [key], [1])
                else:
                    await self._store.call("INCR", key)
            except (StoreAway, StoreReplyError) as error:
                self.errors[key][str(error)] += 1
                await asyncio.sleep(0.01)
            else:
                self.counted[key] += 1
                await asyncio.sleep(self._pause_s)


@asynccontextmanager
async def opened(url: str, timeout_s: float = 5) -> AsyncIterator[Store]:
    """An open client that is closed whatever happens: uvloop waits for connections that nobody closes."""
    store = Store(url, timeout_s=timeout_s)
    try:
        await store.open()
        yield store
    finally:
        await store.aclose()


async def values(store: Store, keys: list[str]) -> dict[str, int]:
    """What the store has counted."""
    replies = await store.call_many([("GET", key) for key in keys])
    return {key: int(reply or 0) for key, reply in zip(keys, replies, strict=True)}
