"""Faults that come and go: of an upstream behind a proxy, and of a store that stands still for a moment."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator

from tests.support.fault_proxy import SOUND, Fault, FaultProxy

LASTS_S = 2.0
SOUND_S = 4.0
STORE_EVERY_S = 20.0
STORE_STOPS_S = 0.3
FAULTS = {
    "reset on request": Fault(reset_on_request=True),
    "closed without an answer": Fault(drop_request=True),
    "closed in the head": Fault(cut_after=10),
    "closed in a stream": Fault(cut_after=700),
    "reset in a stream": Fault(cut_after=700, ending="reset"),
    "silent in a stream": Fault(cut_after=700, ending="stall"),
    "half-closed": Fault(cut_after=700, ending="half-close"),
    "slow": Fault(delay_s=0.2),
    "byte by byte": Fault(drip=True),
    "vanished": Fault(void=True),
}


async def spoil_upstream(proxy: FaultProxy, seen: Counter[str]) -> None:
    """One fault after the other, with a rest between them, until cancelled; then refused for once."""
    while True:
        for name, fault in FAULTS.items():
            proxy.spoil(fault)
            seen[name] += 1
            await asyncio.sleep(LASTS_S)
            proxy.spoil(SOUND)
            await asyncio.sleep(SOUND_S)
        seen["refused"] += 1
        await proxy.refuse()
        await asyncio.sleep(LASTS_S)
        proxy.fault = SOUND
        await proxy.listen()
        await asyncio.sleep(SOUND_S)


async def stop_store(pid: int, seen: Counter[str]) -> None:
    """Let the store stand still for a moment again and again, until cancelled."""
    while True:
        await asyncio.sleep(STORE_EVERY_S)
        seen["store stands still"] += 1
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(STORE_STOPS_S)
        finally:
            os.kill(pid, signal.SIGCONT)


@contextlib.asynccontextmanager
async def faults(proxy: FaultProxy, store: int) -> AsyncIterator[Counter[str]]:
    """All of them meanwhile; yields how often each came."""
    seen: Counter[str] = Counter()
    tasks = [asyncio.create_task(spoil_upstream(proxy, seen)), asyncio.create_task(stop_store(store, seen))]
    try:
        yield seen
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        proxy.spoil(SOUND)
        await proxy.listen()
