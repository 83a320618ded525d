"""One suite for both transports, on both event loops; after each test nothing may be left over."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import pytest
import trustme
import uvloop

from gateway.upstream.http1.transport import Http1Transport
from gateway.upstream.port import Transport
from gateway.upstream.via_httpx import HttpxTransport
from tests.support.polling import until

Answer = list[str] | OSError | float  # addresses, a failure, or the seconds a name server stays silent


class ScriptedNames:
    """Answers look-ups from `answers`; every other name is looked up as usual."""

    answers: Mapping[str, Answer] = {}

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> list[Any]:
        answer = self.answers.get(host)
        if answer is None:
            found: list[Any] = await super().getaddrinfo(host, port, **options)  # type: ignore[misc]  # the loop's
            return found
        if isinstance(answer, OSError):
            raise answer
        if isinstance(answer, float):
            await asyncio.sleep(answer)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answer]


class ScriptedUvloop(ScriptedNames, uvloop.Loop):  # type: ignore[misc]  # its stubs differ from asyncio's
    pass


class ScriptedAsyncio(ScriptedNames, asyncio.SelectorEventLoop):
    pass


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": ScriptedUvloop, "asyncio": ScriptedAsyncio}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Workers run on uvloop; on asyncio's own loop our own client must do as well, and that is enough."""
    spared = [item for item in items if "[asyncio-httpx" in item.name]
    if spared:
        config.hook.pytest_deselected(items=spared)
        items[:] = [item for item in items if item not in spared]


@pytest.fixture
def names() -> Iterator[dict[str, Answer]]:
    """What the name server answers in this test."""
    answers: dict[str, Answer] = {}
    ScriptedNames.answers = answers
    yield answers
    ScriptedNames.answers = {}


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.set_alpn_protocols(["http/1.1"])
    return context


@pytest.fixture(scope="session")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    return serving_context(authority.issue_cert("localhost", "127.0.0.1"))


def serving_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


@pytest.fixture(params=["http1", "httpx"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def transport(kind: str, client_tls: ssl.SSLContext) -> AsyncIterator[Transport]:
    before = asyncio.all_tasks()
    transport: Http1Transport | HttpxTransport
    transport = (
        Http1Transport(ssl_context=client_tls) if kind == "http1" else HttpxTransport(ssl_context=client_tls)
    )
    yield transport
    await transport.aclose()
    if isinstance(transport, Http1Transport):
        assert transport.stats() == {}
    await no_tasks_but(before)


@pytest.fixture
async def http1(client_tls: ssl.SSLContext) -> AsyncIterator[Http1Transport]:
    before = asyncio.all_tasks()
    transport = Http1Transport(ssl_context=client_tls)
    yield transport
    await transport.aclose()
    assert transport.stats() == {}
    await no_tasks_but(before)


async def no_tasks_but(before: set[asyncio.Task[Any]]) -> None:
    """Tasks of the transport are all gone."""

    def ours() -> list[asyncio.Task[Any]]:
        current = asyncio.current_task()
        return [
            task for task in asyncio.all_tasks() - before if task is not current and "gateway" in repr(task)
        ]

    await until(lambda: not ours(), "the end of the transport's tasks")
