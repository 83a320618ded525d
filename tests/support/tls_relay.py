"""TLS in front of a server that speaks plain TCP or a unix socket."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import trustme


@contextlib.asynccontextmanager
async def tls_relay(target: Path, ca: trustme.CA, *names: str) -> AsyncIterator[int]:
    """The port of a relay to the unix socket `target`; its certificate is `ca`'s, for `names`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*names).configure_cert(context)
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        task.add_done_callback(running.discard)
        server_reader, server_writer = await asyncio.open_unix_connection(target)
        try:
            done, pending = await asyncio.wait(
                [
                    asyncio.create_task(_copy(reader, server_writer)),
                    asyncio.create_task(_copy(server_reader, writer)),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            server_writer.close()
            writer.close()
        for each in pending:
            each.cancel()
        await asyncio.wait([*done, *pending])

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        if running:
            await asyncio.wait(running, timeout=5)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
