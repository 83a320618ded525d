"""The control process: uvicorn on an inherited socket, and the signals of its supervisor.

    SIGHUP   read the configuration again
    SIGTERM  stop accepting, finish what is being answered, leave
    SIGINT   leave at once

Started by `gateway.supervisor`. What lives in it is put together in `plane.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import structlog
import uvicorn

from gateway.control.active_text import Overrides
from gateway.control.plane import ControlPlane
from gateway.process import (
    ChildArgs,
    collect_from_now_on,
    die_with_parent,
    parse_child_args,
    report_ready,
    watch_lifeline,
)
from gateway.telemetry.logs import configure_logging

log = structlog.get_logger(__name__)

_FINISH_S = 3


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, which would end the process by the signal once it has finished."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


async def serve(args: ChildArgs) -> None:
    """Run the control plane until it is told to leave."""
    if args.listen_fd is None or args.config_path is None:
        raise SystemExit("the control process needs --listen-fd and --config-path")
    loop = asyncio.get_running_loop()
    watch_lifeline(loop, args, lambda: os._exit(1))
    text = (args.runtime / "active.yaml").read_text("utf-8")
    plane = ControlPlane(
        text,
        args.config_path,
        args.runtime,
        overrides_of(args.runtime),
        os.environ,
        start_cache=lambda: os.kill(os.getppid(), signal.SIGUSR2),
    )
    server = _Server(
        uvicorn.Config(
            plane.app,
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_FINISH_S,
        )
    )
    reloads: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = loop.create_task(plane.reloader.reload_logged("SIGHUP"))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    def leave(at_once: bool) -> None:
        server.should_exit = True
        server.force_exit = server.force_exit or at_once

    loop.add_signal_handler(signal.SIGHUP, reload)
    loop.add_signal_handler(signal.SIGTERM, leave, False)
    loop.add_signal_handler(signal.SIGINT, leave, True)
    made = await plane.open()
    serving = loop.create_task(server.serve(sockets=[socket.socket(fileno=args.listen_fd)]))
    following = loop.create_task(plane.run())
    while not server.started and not serving.done():  # noqa: ASYNC110  # uvicorn has no event for it
        await asyncio.sleep(0.005)
    collect_from_now_on()
    report_ready(args, [f"admin key: {made}"] if made is not None else [], heart=loop)
    try:
        await asyncio.wait({serving, following}, return_when=asyncio.FIRST_COMPLETED)
        if following.done():  # it ends by a bug only; the supervisor starts us anew
            following.result()
        await serving
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await plane.aclose()


def overrides_of(runtime: Path) -> Overrides:
    """The values of the command line that `tunegate serve` wrote down for this run."""
    spec = json.loads((runtime / "spec.json").read_text("utf-8"))
    overrides: Overrides = spec.get("overrides", {})
    return overrides


def main() -> None:
    """Entry point of `python -m gateway.control`."""
    die_with_parent()
    args = parse_child_args()
    configure_logging("control")
    asyncio.run(serve(args))
