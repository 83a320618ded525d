"""What only the second transport can do: go through a proxy."""

import ssl
import time

import pytest

from gateway.domain.errors import AttemptFailed, FailureClass
from gateway.upstream.port import Origin, Timeouts
from gateway.upstream.via_httpx import HttpxTransport
from tests.contract.transport.wire import answer, answering, post
from tests.support.polling import until
from tests.support.scripted_server import Peer, Script, serving

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])


def through(proxy: Origin, context: ssl.SSLContext) -> HttpxTransport:
    return HttpxTransport(proxy=f"http://user:secret@127.0.0.1:{proxy.port}", ssl_context=context)


async def test_plain_upstreams_are_asked_by_their_whole_url(client_tls: ssl.SSLContext) -> None:
    async with serving(answering(answer(), answer())) as proxy:
        transport = through(proxy.origin, client_tls)
        for _ in range(2):
            response = await transport.send(post(Origin("http", "only.the.proxy.knows.test", 8000)))
            assert await response.read(100) == b"ok"
        await transport.aclose()
        (peer,) = proxy.peers
        head = peer.requests[0].lower()
        assert head.startswith(b"post http://only.the.proxy.knows.test:8000/v1/chat/completions http/1.1\r\n")
        assert b"\r\nhost: only.the.proxy.knows.test:8000\r\n" in head
        assert b"\r\nproxy-authorization: basic " in head


async def test_tls_goes_through_a_tunnel_to_the_upstream(
    client_tls: ssl.SSLContext, server_tls: ssl.SSLContext
) -> None:
    tunnels: list[bytes] = []

    async def tunnel(peer: Peer) -> None:
        tunnels.append(await peer.head())
        await peer.send(b"HTTP/1.1 200 Connected\r\n\r\n")
        upstream = await peer.start_tls(server_tls)
        for _ in range(2):
            request = await upstream.request()
            assert b"proxy" not in request.lower()
            await upstream.send(answer())
        await upstream.gone()

    async with serving(tunnel) as proxy:
        transport = through(proxy.origin, client_tls)
        for _ in range(2):
            response = await transport.send(post(Origin("https", "localhost", 8443)))
            assert await response.read(100) == b"ok"
        await transport.aclose()
    (head,) = tunnels
    assert head.startswith(b"CONNECT localhost:8443 HTTP/1.1\r\n")
    assert b"sk-secret" not in head


async def refusing(peer: Peer) -> None:
    await peer.head()
    await peer.send(answer(b"", status=b"407 Proxy Authentication Required"))
    await peer.gone()


async def silent(peer: Peer) -> None:
    await peer.head()
    await peer.gone()


@pytest.mark.parametrize(
    ("script", "failure", "words"),
    [(refusing, FailureClass.CONNECT, "407"), (silent, FailureClass.TIMEOUT, "connect_s")],
)
async def test_a_tunnel_that_does_not_come_about_is_a_failure_to_connect(
    client_tls: ssl.SSLContext, script: Script, failure: FailureClass, words: str
) -> None:
    async with serving(script) as proxy:
        transport = through(proxy.origin, client_tls)
        started = time.monotonic()
        with pytest.raises(AttemptFailed) as caught:
            await transport.send(post(Origin("https", "api.test", 443), timeouts=Timeouts(0.2, 5, 5)))
        assert time.monotonic() - started < 1
        await until(lambda: proxy.peers[0].is_gone)
        await transport.aclose()
    assert caught.value.failure is failure
    assert words in str(caught.value)
    assert "api.test:443" in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_a_proxy_that_is_away(client_tls: ssl.SSLContext) -> None:
    async with serving(silent) as proxy:
        gone = proxy.origin
    transport = through(gone, client_tls)
    with pytest.raises(AttemptFailed) as caught:
        await transport.send(post(Origin("http", "api.test", 80)))
    await transport.aclose()
    assert caught.value.failure is FailureClass.CONNECT
    assert str(caught.value).startswith("cannot connect to api.test:80 through the proxy")


async def test_an_address_is_judged_before_the_proxy_sees_it(client_tls: ssl.SSLContext) -> None:
    async with serving(answering(answer())) as proxy:
        transport = through(proxy.origin, client_tls)
        for origin in (
            Origin("http", "169.254.169.254", 80),
            Origin("http", "10.0.0.1", 80, allow_private=False),
        ):
            with pytest.raises(AttemptFailed, match="refused by the gateway"):
                await transport.send(post(origin))
        await transport.aclose()
        assert proxy.peers == []
