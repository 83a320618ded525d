"""Variables of the environment that name proxies, and a file that holds passwords, mean nothing here."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.upstream.port import Transport
from tests.contract.transport.wire import answer, answering, post
from tests.support.scripted_server import Peer, ScriptedServer, serving

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


async def never(peer: Peer) -> None:
    await peer.head()
    await peer.send(answer(b"the proxy's"))


@pytest.fixture
async def proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[ScriptedServer]:
    """A proxy that the whole environment names, before anything else of a test is made."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login stolen password stolen\ndefault login stolen password stolen\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with serving(never) as proxy:
        for name in VARIABLES:
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            monkeypatch.setenv(name.lower(), f"http://127.0.0.1:{proxy.port}")
        yield proxy


async def test_no_proxy_of_the_environment_is_asked_and_no_netrc_read(
    proxy: ScriptedServer, transport: Transport
) -> None:
    async with serving(answering(answer())) as server:
        response = await transport.send(post(server.origin, headers=()))
        assert await response.read(100) == b"ok"
        request = server.peers[0].requests[0]
    assert proxy.peers == []
    assert request.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert b"authorization" not in request.lower()
