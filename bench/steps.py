"""Where the work of a call is: frames of Python by step, counted, so that they are the same on any machine.

A frame is a call of a function, or the resumption of a coroutine. With what it calls in C one takes a third
of a microsecond or more, so the table tells shares, and a few frames more show where no clock would see them.
"""

import asyncio
import sys
import tempfile
from collections import Counter
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).parent.parent))

from gateway.store.client import Store
from tests.support.gateway import config_text, running_gateway
from tests.support.hot_path import LIMITS, Upstream, ask, watched
from tests.support.valkey import ValkeyServer

STEPS = {  # the first that a file's path begins with
    "bytes in, bytes out": ("edge/protocol.py", "edge/exchange.py", "edge/outbox.py"),
    "headers of the reply": ("edge/headers.py", "edge/caller.py", "limits/headers.py"),
    "who calls": ("auth/",),
    "what is asked": ("edge/request.py", "edge/routes.py", "catalog/catalogue.py", "domain/"),
    "the story": ("edge/", "pipeline.py", "gate.py"),
    "admission": ("accounting/desk.py", "accounting/quote.py", "accounting/terms.py", "limits/"),
    "settlement": ("accounting/", "metering/", "pricing/"),
    "the store's wire": ("store/",),
    "which upstream": ("routing/", "attempts/", "catalog/"),
    "the upstream's wire": ("upstream/",),
    "what it answers": ("relay/",),
    "metrics and the access line": ("observer.py", "telemetry/"),
    "the rest": ("",),
}
REQUESTS, CHUNKS = 100, 500


def step_of(file: str) -> str:
    """The step that a file of `gateway/` is part of."""
    return next(step for step, starts in STEPS.items() if file.startswith(starts))


async def count() -> tuple[Counter[str], Counter[str]]:
    """Frames of a JSON request, and of one more chunk of a stream, by step."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Upstream, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with ValkeyServer() as valkey, tempfile.TemporaryDirectory() as folder:
        store = Store(valkey.url, timeout_s=5)
        await store.open()
        upstreams = {"only": {"base_url": f"http://127.0.0.1:{port}/v1"}}
        text = config_text(valkey.url, upstreams, {"support": {"model": "mock", "fallbacks": ["mock-2"]}})
        async with running_gateway(text, store, Path(folder)) as gateway:
            key = await gateway.new_key(limits=LIMITS)
            await ask(gateway, key, 20)
            requests, stream, longer = Counter[str](), Counter[str](), Counter[str]()
            with watched(requests, step_of):
                await ask(gateway, key, REQUESTS)
            for counts, chunks in ((stream, 20), (longer, 20 + CHUNKS)):
                with watched(counts, step_of):
                    await ask(gateway, key, 1, stream=True, max_tokens=chunks)
        await store.aclose()
    server.close()
    longer.subtract(stream)
    return requests, longer


def table(requests: Counter[str], chunks: Counter[str]) -> str:
    """The two counts side by side."""
    rows = [(step, requests[step] / REQUESTS, chunks[step] / CHUNKS) for step in STEPS]
    rows = [row for row in rows if row[1] >= 0.5 or row[2] >= 0.5]
    rows.append(("**all**", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    lines = ["| step | frames a JSON request | frames a chunk |", "| --- | ---: | ---: |"]
    lines += [f"| {step} | {request:.0f} | {abs(chunk):.0f} |" for step, request, chunk in rows]
    return "\n".join(lines)


def show() -> None:
    """Count, and print the table."""
    print(table(*uvloop.run(count())))


if __name__ == "__main__":
    show()
