"""Makes names that end in `.slow.test` slow to resolve, in every Python that has this folder on its path.

Whoever looks them up is blocked for two seconds, as by a name server that does not answer: the loop too,
where the look-up were made in it.
"""

import asyncio
import socket
import time
from typing import Any

import uvloop

SLOW = ".slow.test"
TAKES_S = 2.0
_resolve = socket.getaddrinfo


def _slow(host: Any, *arguments: Any, **named: Any) -> Any:
    if isinstance(host, str) and host.endswith(SLOW):
        time.sleep(TAKES_S)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    return _resolve(host, *arguments, **named)


async def _in_a_thread(_: uvloop.Loop, host: Any, port: Any, **named: Any) -> Any:
    return await asyncio.to_thread(_slow, host, port, **named)


socket.getaddrinfo = _slow
uvloop.Loop.getaddrinfo = _in_a_thread  # type: ignore[method-assign, assignment]  # its own is in C
