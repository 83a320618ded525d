import asyncio
import socket

import uvloop

from gateway.worker.process import doors

CLIENTS = 16


async def turns_until_all_are_in() -> int:
    """How many turns the loop takes for clients who have come while it was busy."""
    loop = asyncio.get_running_loop()
    arrived: list[asyncio.BaseTransport] = []

    class Greeter(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            arrived.append(transport)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        servers = [await loop.create_server(Greeter, sock=door) for door in doors(listener)]
        clients = [socket.create_connection(listener.getsockname()) for _ in range(CLIENTS)]
        turns = 0
        while len(arrived) < CLIENTS:
            turns += 1
            await asyncio.sleep(0)
        for each in [*servers, *arrived, *clients]:
            each.close()
        for server in servers:
            await server.wait_closed()
    return turns


def test_several_clients_come_in_at_each_turn_of_the_loop() -> None:
    assert uvloop.run(turns_until_all_are_in()) <= CLIENTS // 2
