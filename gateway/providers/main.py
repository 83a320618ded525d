"""The provider process as a child of the supervisor: import litellm, serve on a unix socket, end with it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from types import FrameType

import uvicorn

from gateway.process import ChildArgs, die_with_parent, listen, parse_child_args, report_ready, watch_lifeline
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
    # Who connects from here on waits in the socket's queue until the server accepts.
    report_ready(args, heart=loop)
    await server.serve(sockets=[listener])


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
