"""`python -m gateway.demo`: the demo upstream as a child of the supervisor."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from types import FrameType

import uvloop

from gateway.demo.app import DemoApp, Pacing
from gateway.demo.server import make_server
from gateway.process import ChildArgs, die_with_parent, listen, parse_child_args, report_ready, watch_lifeline


async def run(args: ChildArgs) -> None:
    """Serve on the socket named by the supervisor until a signal, or its death, ends it."""
    if args.socket is None:
        raise SystemExit("gateway.demo needs --socket")
    app = DemoApp(Pacing(), chance=random.Random())  # noqa: S311 - ids and pauses, nothing secret
    watch_lifeline(asyncio.get_running_loop(), args, lambda: os._exit(0))
    server, listener = make_server(app), listen(args.socket)
    report_ready(args)  # who connects from here on waits in the socket's queue until the server accepts
    await server.serve(sockets=[listener])


def _stop(_number: int, _frame: FrameType | None) -> None:
    """End in good order: uvicorn stops at a signal by itself, then raises it again for this handler."""
    sys.exit(0)


def main() -> None:
    """Start as a child process."""
    args = parse_child_args()
    die_with_parent()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    uvloop.run(run(args))


if __name__ == "__main__":
    main()
