"""A data-plane worker in the test's own loop, on a real socket and a real store: all but the processes."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
import yaml

from gateway.app import Worker
from gateway.auth.record import KeyDigest, KeyRecord
from gateway.auth.virtual_key import digest, format_key, new_key_id, new_secret
from gateway.store.client import Store
from gateway.store.key_repository import KeyRepository
from gateway.telemetry.access_log import AccessLog
from gateway.worker.process import server_config

SECRET = "the secret of the tests"


class _QuickServer(uvicorn.Server):
    """Ends within milliseconds, where uvicorn looks every tenth of a second."""

    async def main_loop(self) -> None:
        await self.on_tick(0)
        while not self.should_exit:
            await asyncio.sleep(0.002)


class RunningGateway:
    """A served worker: its address, its keys, and what it logged."""

    def __init__(self, worker: Worker, server: uvicorn.Server, port: int, store: Store, log: Path) -> None:
        self.worker = worker
        self.server = server
        self.port = port
        self.log = log
        self._store = store

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def new_key(self, **fields: Any) -> str:
        """A virtual key; `fields` are those of a `KeyRecord`."""
        name = fields.pop("name", "tests")
        key_id = new_key_id(name, secrets.randbelow)
        key = format_key(key_id, new_secret(secrets.randbelow))
        hashed = KeyDigest(digest(SECRET.encode(), key))
        record = KeyRecord(id=key_id, name=name, digests=(hashed,), created_at=int(time.time()), **fields)
        assert await KeyRepository(self._store).create(record, time.time_ns() // 1000)
        return key

    async def access_lines(self, count: int) -> list[dict[str, Any]]:
        """The access log, once it has `count` lines."""
        deadline = time.monotonic() + 5
        while len(lines := self.log.read_text().splitlines()) < count:
            assert time.monotonic() < deadline, lines
            await asyncio.sleep(0.005)
        return [json.loads(line) for line in lines]


def config_text(store_url: str, upstreams: dict[str, Any], aliases: dict[str, Any], **blocks: Any) -> str:
    """A configuration as text.

    Models of scripted upstreams never end unless `shutdown_dates` says so: some bear names of real ones, and
    tests pass on any day.
    """
    blocks.setdefault("server", {})
    upstreams = {
        name: each if each.get("kind") == "demo" else {"shutdown_dates": {"*": None}, **each}
        for name, each in upstreams.items()
    }
    return yaml.safe_dump(
        {"store": {"url": store_url, "timeout_ms": 2000}, "upstreams": upstreams, "aliases": aliases}
        | blocks,
        sort_keys=False,
    )


@asynccontextmanager
async def running_gateway(text: str, store: Store, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """Serve a worker on a port of the kernel's choice."""
    loop = asyncio.get_running_loop()
    log = tmp_path / f"access-{secrets.token_hex(4)}.log"
    with log.open("wb") as file:
        descriptor = os.dup(file.fileno())
    environment = {"TUNEGATE_SECRET": SECRET}
    worker = Worker(text, tmp_path, "gateway.yaml", environment, tmp_path, loop, AccessLog(loop, descriptor))
    config = server_config(worker, worker.bounds, drain_s=1)
    config.host, config.port = "127.0.0.1", 0
    server = _QuickServer(config)
    await worker.open()
    assert worker.readiness.was_ready
    serving = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.001)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield RunningGateway(worker, server, port, store, log)
    finally:
        server.should_exit = True
        server.force_exit = True
        await serving
        await worker.aclose()
        os.close(descriptor)
