"""The provider process as a child of the supervisor: import litellm, serve on a unix socket, end with it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from types import FrameType

import uvicorn

from gateway.process import ChildArgs, die_with_parent, parse_child_args, report_ready, watch_lifeline
from gateway.providers.app import ProviderApp
from gateway.providers.surroundings import note_stray_failures, prepare, quieten

GRACE_S = 1
"""How long a stop waits for running answers: by then the workers have drained, so nobody listens."""


async def run(args: ChildArgs, app: ProviderApp) -> None:
    """Serve on the socket named by the supervisor until a signal, or its death, ends it."""
    if args.socket is None:
        raise SystemExit("gateway.providers needs --socket")
    loop = asyncio.get_running_loop()
    watch_lifeline(loop, args, lambda: os._exit(0))
    note_stray_failures(loop)
    server, listener = make_server(app), listen(args.socket)
    report_ready(
        args, heart=loop
    )  # who connects from here on waits in the socket's queue until the server accepts
    await server.serve(sockets=[listener])


def listen(path: str) -> socket.socket:
    """Bind a unix socket of mode 600, replacing what a predecessor left there."""
    with suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 - a socket's path stays the text it is
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    os.chmod(path, 0o600)  # noqa: PTH101 - as above
    listener.listen(1024)
    return listener


def make_server(app: ProviderApp) -> uvicorn.Server:
    """A server for the application; `serve(sockets=[listen(path)])` runs it until SIGTERM or SIGINT."""
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http="h11",
            loop="asyncio",
            lifespan="off",
            ws="none",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=GRACE_S,
        )
    )


def _stop(_number: int, _frame: FrameType | None) -> None:
    """End in good order: uvicorn stops at a signal by itself, then raises it again for this handler."""
    sys.exit(0)


def main() -> None:
    """Start as a child process."""
    args = parse_child_args()
    die_with_parent()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    prepare(os.environ)
    from gateway.providers.engine import LitellmEngine  # noqa: PLC0415 - after its surroundings are there

    quieten()
    asyncio.run(run(args, ProviderApp(LitellmEngine())))
