"""The demo upstream as a server: uvicorn, for a socket that `gateway.process.listen` made."""

from __future__ import annotations

import logging

import uvicorn

from gateway.demo.app import DemoApp

GRACE_S = 1
"""How long a stop waits for running replies: by then the workers have drained, so nobody listens."""


def make_server(app: DemoApp) -> uvicorn.Server:
    """A server for the application; `serve(sockets=[listen(path)])` runs it until SIGTERM or SIGINT."""
    logging.getLogger("uvicorn.error").addFilter(_is_no_cut)
    return uvicorn.Server(
        uvicorn.Config(
            app,
            lifespan="off",
            ws="none",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=GRACE_S,
        )
    )


def _is_no_cut(record: logging.LogRecord) -> bool:
    """Drop uvicorn's complaint about `demo:cut`, which is meant."""
    return "without completing response" not in record.getMessage()
