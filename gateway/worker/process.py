"""A data-plane worker process: uvicorn on an inherited socket, and the signals of its supervisor.

    SIGTERM  drain: not ready, accept for the grace period, then refuse new calls and finish the running ones;
             then wait for the store to take what it has not taken, where the time is not over
    SIGUSR2  replaced by another worker: accept no more, finish, leave
    SIGINT   the same as SIGTERM without the grace

Started by `gateway.supervisor`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import cast

import structlog
import uvicorn
import uvloop

from gateway.app import Worker, create_worker
from gateway.edge.outbox import Outbox
from gateway.edge.protocol import SPARE_CONNECTIONS, Bounds, GatewayProtocol
from gateway.link import ControlLink
from gateway.process import (
    ChildArgs,
    collect_from_now_on,
    die_with_parent,
    parse_child_args,
    report_ready,
    watch_lifeline,
)
from gateway.telemetry.logs import configure_logging
from gateway.telemetry.metrics import REPLACEMENT_REASONS, WORKER_REPLACEMENTS

log = structlog.get_logger(__name__)

_POLL_S = 0.05
_LAST_S = 1.0
_JOURNAL_S = 30.0
"""How long a drain may go on for the journal alone: its disk may go with the container."""
_CONTROL_S = 1.0
"""How long a starting worker waits for the control process; a worker without it serves all the same."""


HEADERS = [("x-content-type-options", "nosniff")]
"""On every answer: no browser takes what an upstream wrote for anything but its content type."""

_OWN_FILES = 64
"""Open files that are neither clients' nor upstreams': libraries, journal, store, control process."""


_DOORS = 4
"""How many clients a turn of the loop lets in; each costs a try in vain where nobody waits."""


def connections_for(files: int) -> int:
    """How many client connections fit into so many open files.

    Each may need another one for its upstream, and a worker without a free file can neither call nor accept.
    """
    return max(1, (files - _OWN_FILES - SPARE_CONNECTIONS) // 2)


def doors(listener: socket.socket) -> list[socket.socket]:
    """The listening socket, several times: each lets one client in at each turn of the loop (libuv's rule).

    By one door alone, clients who come while the loop is busy would wait in a queue that empties by one a
    turn: for seconds, once turns take milliseconds.
    """
    return [listener, *(listener.dup() for _ in range(_DOORS - 1))]


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: signals mean other things here."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


class WorkerProcess:
    """One worker's life: start, serve, drain, end."""

    def __init__(self, worker: Worker, server: _Server, drain_grace_s: float, drain_timeout_s: float) -> None:
        self._worker = worker
        self._server = server
        self._grace_s = drain_grace_s
        self._timeout_s = drain_timeout_s
        self._leaving: asyncio.Task[None] | None = None

    def handle_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        """Install the handlers."""
        loop.add_signal_handler(signal.SIGTERM, self._leave, self._drain)
        loop.add_signal_handler(signal.SIGUSR2, self._leave, self._make_way)
        loop.add_signal_handler(signal.SIGINT, self._leave, self._hurry)
        loop.add_signal_handler(signal.SIGHUP, _ignore)

    def _leave(self, finish: Callable[[], Awaitable[None]]) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
        self._leaving = asyncio.get_running_loop().create_task(self._leave_after(finish))

    async def _leave_after(self, finish: Callable[[], Awaitable[None]]) -> None:
        self._worker.readiness.is_draining = True
        await finish()
        self._worker.service.stop_calls()
        await self._wait(self._is_idle, _LAST_S)
        self._server.should_exit = True

    async def _drain(self) -> None:
        log.info("draining", grace_s=self._grace_s, timeout_s=self._timeout_s)
        await self._wait(lambda: False, self._grace_s)
        self._worker.service.is_refusing = True
        began = asyncio.get_running_loop().time()
        await self._wait(self._is_idle, self._timeout_s)
        left_s = began + self._timeout_s - asyncio.get_running_loop().time()
        await self._wait(lambda: not self._worker.unsettled, min(_JOURNAL_S, left_s))

    async def _make_way(self) -> None:
        """Another worker serves: until the last client has gone there, each call that comes is answered."""
        self._stop_accepting()
        await self._wait(lambda: not self._server.server_state.connections, self._timeout_s)

    async def _hurry(self) -> None:
        self._stop_accepting()
        await self._wait(self._is_idle, self._timeout_s)

    def _is_idle(self) -> bool:
        return self._worker.application.in_flight == 0

    def _stop_accepting(self) -> None:
        for listener in self._server.servers:
            listener.close()

    async def _wait(self, is_over: Callable[[], bool], within_s: float) -> None:
        """Wait for it within a bound, while clients are sent to other processes."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        while True:
            for connection in list(self._server.server_state.connections):
                cast("GatewayProtocol", connection).retire()
            if is_over() or loop.time() >= deadline:
                return
            await asyncio.sleep(_POLL_S)


def _affordable(bounds: Bounds) -> Bounds:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY or (fit := connections_for(files)) >= bounds.max_connections:
        return bounds
    log.warning("few open files: fewer connections", open_files=files, max_connections=fit)
    return replace(bounds, max_connections=fit)


def _collect_seldom() -> None:
    """Let the collector of cycles look seldom at what calls leave.

    A call leaves no cycles: what it made goes with its last reference. Looking after every 700 new objects
    took an eighth of all time. What failures leave all the same is a few megabytes at the most.
    """
    gc.set_threshold(10_000, 10, 10)
    collect_from_now_on()


def server_config(worker: Worker, bounds: Bounds, drain_s: int = 2) -> uvicorn.Config:
    """How uvicorn serves a worker's application: by our protocol, with nothing in between.

    Args:
        drain_s: how long its shutdown waits for calls that the drain has left.
    """
    protocol = partial(GatewayProtocol, bounds=bounds, ids=worker.ids, outbox=Outbox())
    return uvicorn.Config(
        worker.application.serve,  # it gets exchanges, where another protocol would bring scopes
        interface="asgi3",
        http=protocol,  # type: ignore[arg-type]  # it is called
        ws="none",
        lifespan="off",
        access_log=False,
        proxy_headers=False,
        log_config=None,
        server_header=False,
        headers=HEADERS,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=drain_s,
        backlog=4096,
    )


async def serve(args: ChildArgs) -> None:
    """Run the worker until it is told to leave."""
    if args.listen_fd is None or args.config_path is None:
        raise SystemExit("a worker needs --listen-fd and --config-path")
    loop = asyncio.get_running_loop()
    watch_lifeline(loop, args, lambda: os._exit(1))
    worker, text = create_worker(args.runtime, args.config_path, os.environ, loop)
    if args.because in REPLACEMENT_REASONS:
        worker.counters.inc(WORKER_REPLACEMENTS, (args.because,))
    settings = worker.snapshots.current.settings.server
    config = server_config(worker, _affordable(worker.bounds))
    server = _Server(config)
    await worker.open()
    process = WorkerProcess(worker, server, settings.drain_grace_s, settings.drain_timeout_s)
    process.handle_signals(loop)
    link = ControlLink(
        args.runtime / "control.sock",
        args.index,
        worker.swap,
        worker.counters,
        worker.health_report,
        worker.advise,
        text,
    )
    talking = asyncio.create_task(link.run())
    await link.first_state(_CONTROL_S)
    listener = socket.socket(fileno=args.listen_fd)
    serving = asyncio.create_task(server.serve(sockets=doors(listener)))
    while not server.started and not serving.done():  # noqa: ASYNC110 # uvicorn offers no event
        await asyncio.sleep(0.005)
    _collect_seldom()
    report_ready(args, heart=loop)
    try:
        await serving
    finally:
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)
        await worker.aclose()


def _ignore() -> None:
    """SIGHUP is the control process's business."""


def main() -> None:
    """Entry point of `python -m gateway.worker`."""
    die_with_parent()
    args = parse_child_args()
    configure_logging("worker", args.index)
    uvloop.run(serve(args))
