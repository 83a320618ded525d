"""The workers' link: a unix socket over which they get every new state and send metrics and health.

One JSON object a line. A worker says `hello` and is sent `welcome` and the current `state`; it says `swapped`
once a state serves. `metrics` and `health` come whenever there is news. A worker that cannot be understood is
cut off: it connects again and starts over.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec
import structlog

log = structlog.get_logger(__name__)

MAX_FRAME_BYTES = 64 * 1024 * 1024

RETURN_WITHIN_S = 0.5
"""How long after a killed predecessor its workers may need to connect again; they try each 0.2 s."""


class Hello(msgspec.Struct, tag="hello", tag_field="type"):
    """The first frame. `config` is the SHA-256 of the configuration text that the worker runs on."""

    pid: int
    index: int
    config: str


class Metrics(msgspec.Struct, tag="metrics", tag_field="type"):
    """What a worker counted; `instance` is the control process it counts for."""

    instance: str
    delta: dict[str, Any]


class Health(msgspec.Struct, tag="health", tag_field="type"):
    """What a worker knows of the upstreams, by name."""

    upstreams: dict[str, Any]


class Swapped(msgspec.Struct, tag="swapped", tag_field="type"):
    """The state of this generation serves now."""

    generation: int


class MetricsSum(Protocol):
    """Adds up the workers' metrics."""

    def apply(self, worker_id: object, report: Mapping[str, Any]) -> None:
        """Take in what a worker reports."""

    def forget(self, worker_id: object) -> None:
        """The worker has left."""


@dataclass(frozen=True, slots=True)
class State:
    """What workers are to serve.

    Args:
        generation: grows with every state, over restarts of the control process too.
        config: text of the active configuration; `config_sha` is its SHA-256.
        aliases: name -> {"block", "revision"}.
        discovered: upstream -> the model objects it lists.
    """

    generation: int
    config: str
    config_sha: str
    aliases: Mapping[str, Any]
    discovered: Mapping[str, Any]


@dataclass(slots=True, eq=False)
class Worker:
    """A connected worker, as far as it has told about itself."""

    writer: asyncio.StreamWriter
    pid: int = 0
    index: int = -1
    config_sha: str = ""
    generation: int = -1
    health: dict[str, Any] = field(default_factory=dict)

    def send(self, frame: Mapping[str, Any]) -> None:
        """Send without waiting. A worker that reads nothing for long is cut off."""
        self.writer.write(msgspec.json.encode(frame) + b"\n")
        if self.writer.transport.get_write_buffer_size() > MAX_FRAME_BYTES:
            self.writer.transport.abort()


class WorkerLink:
    """The hub of all workers of this replica.

    Args:
        path: where the socket is made, readable by this user alone.
        instance: id of this control process, told to the workers.
        metrics: adds up what the workers report.
    """

    def __init__(self, path: Path, instance: str, metrics: MetricsSum) -> None:
        self._path = path
        self._instance = instance
        self._metrics = metrics
        self._server: asyncio.Server | None = None
        self._state: State | None = None
        self._workers: set[Worker] = set()
        self._progress = asyncio.Event()
        self._returned_at = 0.0

    async def open(self) -> None:
        """Listen, in place of a socket that a predecessor left."""
        if self._path.exists():
            self._path.unlink()
            self._returned_at = asyncio.get_running_loop().time() + RETURN_WITHIN_S
        mask = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, self._path, limit=MAX_FRAME_BYTES)
        finally:
            os.umask(mask)

    async def aclose(self) -> None:
        """Stop listening and let every worker go."""
        if self._server is not None:
            self._server.close()
            for worker in self._workers:
                worker.writer.close()
            await self._server.wait_closed()
        self._path.unlink(missing_ok=True)

    @property
    def workers(self) -> list[Worker]:
        """The workers that have said hello, in order of their index."""
        return sorted((w for w in self._workers if w.index >= 0), key=lambda worker: worker.index)

    def push(self, state: State) -> None:
        """Make this the state of all workers, of those that come later too."""
        self._state = state
        for worker in self.workers:
            self._send_state(worker, state)

    async def swapped(self, generation: int, timeout_s: float) -> int:
        """Wait until every worker serves this generation, `timeout_s` at most; returns how many do."""
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.sleep(self._returned_at - asyncio.get_running_loop().time())
                while not all(worker.generation >= generation for worker in self.workers):
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            log.warning("not every worker has swapped yet", generation=generation)
        return sum(worker.generation >= generation for worker in self.workers)

    def _send_state(self, worker: Worker, state: State) -> None:
        config = None if worker.config_sha == state.config_sha else state.config
        worker.config_sha = state.config_sha
        worker.send(
            {
                "type": "state",
                "generation": state.generation,
                "config": config,
                "aliases": state.aliases,
                "discovered": state.discovered,
            }
        )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        worker = Worker(writer)
        self._workers.add(worker)
        try:
            while line := await reader.readline():
                self._receive(worker, _FRAME.decode(line))
        except (OSError, ValueError, msgspec.DecodeError) as error:  # ValueError: a line beyond the limit
            log.warning("a worker's link broke", index=worker.index, error=str(error))
        finally:
            self._workers.discard(worker)
            self._metrics.forget(worker)
            self._progress.set()
            writer.close()

    def _receive(self, worker: Worker, frame: Hello | Metrics | Health | Swapped) -> None:
        match frame:
            case Hello():
                worker.pid, worker.index, worker.config_sha = frame.pid, frame.index, frame.config
                worker.send({"type": "welcome", "instance": self._instance})
                if self._state is not None:
                    self._send_state(worker, self._state)
            case Swapped():
                worker.generation = frame.generation
                self._progress.set()
            case Health():
                worker.health = frame.upstreams
            case Metrics() if frame.instance == self._instance:
                self._metrics.apply(worker, frame.delta)


_FRAME = msgspec.json.Decoder(Hello | Metrics | Health | Swapped)
