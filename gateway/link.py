"""A worker's link to the control process: new states and advice in, metrics and health out.

The control process may come and go; a worker serves on with what it has and connects again. One JSON
object a line, over a unix socket that only this user can open.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
import structlog

log = structlog.get_logger(__name__)

REPORT_EVERY_S = 1.0
_RECONNECT_S = 0.05
_MAX_FRAME_BYTES = 64 * 1024 * 1024
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class State(msgspec.Struct):
    """What the control process wants served. `config` is None where the text did not change."""

    generation: int
    config: str | None
    aliases: Mapping[str, Mapping[str, Any]]
    discovered: Mapping[str, Sequence[Mapping[str, Any]]]


class Reports(Protocol):
    """Where a worker's counts come from."""

    def take_delta(self) -> dict[str, Any]:
        """What was counted since the last call."""

    def totals(self) -> dict[str, Any]:
        """Everything counted since the start; the next delta starts here."""


class ControlLink:
    """Keeps the connection and speaks over it.

    Args:
        path: of the control process's socket.
        index: of this worker.
        swap: puts a state in force; raises ValueError where it cannot.
        reports: the worker's counts.
        health: what the worker knows of upstreams, as JSON-ready values.
        advise: told what others know of them.
        config: text of the configuration in force at the start.
    """

    def __init__(
        self,
        path: Path,
        index: int,
        swap: Callable[[State], None],
        reports: Reports,
        health: Callable[[], Mapping[str, Any]],
        advise: Callable[[Mapping[str, Any]], None],
        config: str,
    ) -> None:
        self._path = path
        self._index = index
        self._swap = swap
        self._reports = reports
        self._health = health
        self._advise = advise
        self._config_sha = _sha(config)
        self._has_state = asyncio.Event()
        self._instance: str | None = None

    async def first_state(self, within_s: float) -> None:
        """Wait for the control process's word, so that the file's newest aliases serve from the first call.

        Where it says nothing in time, what the store had stays in force.
        """
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._has_state.wait(), within_s)

    async def run(self) -> None:
        """Stay connected until cancelled."""
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(str(self._path), limit=_MAX_FRAME_BYTES)
            except OSError:
                await asyncio.sleep(_RECONNECT_S)
                continue
            reporting = asyncio.create_task(self._report(writer))
            try:
                self._send(writer, type="hello", pid=os.getpid(), index=self._index, config=self._config_sha)
                while line := await reader.readline():
                    self._receive(writer, _decode(line))
            except (OSError, ValueError, msgspec.DecodeError) as error:
                log.warning("the link to the control process broke", error=str(error))
            finally:
                reporting.cancel()
                writer.close()
            await asyncio.sleep(_RECONNECT_S)

    def _receive(self, writer: asyncio.StreamWriter, frame: Mapping[str, Any]) -> None:
        if frame["type"] == "welcome":
            if frame["instance"] != self._instance:
                # A new control process starts from nothing: it gets everything counted so far.
                self._instance = frame["instance"]
                self._send(writer, type="metrics", instance=self._instance, delta=self._reports.totals())
        elif frame["type"] == "state":
            state = msgspec.convert(frame, State)
            try:
                self._swap(state)
            except ValueError:
                log.exception("a new state was refused; the old one serves on", generation=state.generation)
                return
            if state.config is not None:
                self._config_sha = _sha(state.config)
            self._send(writer, type="swapped", generation=state.generation)
            self._has_state.set()
        elif frame["type"] == "advice":
            self._advise(frame["upstreams"])

    async def _report(self, writer: asyncio.StreamWriter) -> None:
        last_health: Mapping[str, Any] | None = None
        while True:
            await asyncio.sleep(REPORT_EVERY_S)
            if self._instance is None or writer.is_closing():
                continue
            delta = self._reports.take_delta()
            if delta:
                self._send(writer, type="metrics", instance=self._instance, delta=delta)
            health = self._health()
            if health != last_health:
                last_health = health
                self._send(writer, type="health", upstreams=health)

    def _send(self, writer: asyncio.StreamWriter, **frame: Any) -> None:
        writer.write(_encode(frame) + b"\n")


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
