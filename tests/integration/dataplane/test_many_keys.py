"""A hundred keys and twenty aliases in turn cost a call what one of each costs, by counts."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import msgspec

from tests.integration.dataplane.conftest import StartGateway
from tests.support.gateway import RunningGateway
from tests.support.hot_path import LIMITS, Upstream, watched

KEYS, ALIASES = 100, 20


async def ask_each(gateway: RunningGateway, pairs: Sequence[tuple[str, str]]) -> None:
    """One call by each key for its alias, on connections of their own: a head that is repeated costs less."""
    for key, alias in pairs:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        body = msgspec.json.encode({"model": alias, "messages": [{"role": "user", "content": "Hello"}]})
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        reply = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in reply
        lines = reply.lower().split(b"\r\n")
        length = next(line for line in lines if line.startswith(b"content-length"))
        await reader.readexactly(int(length.split(b":")[1]))
        writer.close()
        await writer.wait_closed()


async def test_many_keys_cost_what_one_costs(start_gateway: StartGateway) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    aliases = {f"alias-{n}": {"model": f"mock-{n}", "fallbacks": ["mock-spare"]} for n in range(ALIASES)}
    gateway = await start_gateway({"only": {"base_url": f"http://127.0.0.1:{port}/v1"}}, aliases)
    keys = [await gateway.new_key(name=f"key {n}", limits=LIMITS) for n in range(KEYS)]
    many = [(key, f"alias-{n % ALIASES}") for n, key in enumerate(keys)]
    await ask_each(gateway, [*many, *many])

    counts: dict[str, Counter[str]] = {"one": Counter(), "many": Counter()}
    for name, pairs in (("one", [many[0]] * KEYS), ("many", many)):
        with watched(counts[name]):
            await ask_each(gateway, pairs)
    server.close()

    assert abs(counts["many"]["frames"] - counts["one"]["frames"]) < 3 * KEYS  # of some 200 each
    assert counts["many"]["parses"] == counts["one"]["parses"]
    assert counts["many"]["tasks"] <= KEYS + 5  # no look at a key's record for each
