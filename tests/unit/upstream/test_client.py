"""What calls of one upstream have in common is made once, and made anew where it changes."""

from __future__ import annotations

from typing import Any, cast

from gateway.domain.trace import TraceContext
from gateway.upstream.azure import AzureTargets
from gateway.upstream.client import UpstreamClient
from gateway.upstream.port import Headers, Origin, Timeouts, UpstreamRequest, UpstreamResponse

TIMEOUTS = Timeouts()
TRACE = TraceContext("0" * 31 + "1", "0" * 15 + "2")


class Recorder:
    """A transport that only remembers what it is given."""

    def __init__(self) -> None:
        self.requests: list[UpstreamRequest] = []

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        self.requests.append(request)
        return cast("UpstreamResponse", None)  # nobody looks at it

    async def aclose(self) -> None:
        """Nothing is open."""


def client(header_sets: list[Headers], **fields: Any) -> tuple[UpstreamClient, Recorder]:
    transport = Recorder()
    origin = Origin("http", "api.test", 80)
    return UpstreamClient(
        "a",
        origin,
        "/v1",
        header_sets,
        TIMEOUTS,
        stream_usage=True,
        max_concurrency=1,
        transport=transport,
        **fields,
    ), transport


async def test_calls_of_one_route_and_credential_share_their_head() -> None:
    first, second = ((b"authorization", b"1"),), ((b"authorization", b"2"),)
    upstream, transport = client([first, second])

    for path, credential in (("/x", 0), ("/x", 0), ("/y", 0), ("/x", 1), ("/x", 0)):
        await upstream.post(path, b"{}", credential, TIMEOUTS)

    heads = [request.head for request in transport.requests]
    assert [(head.target, head.headers) for head in heads] == [
        ("/v1/x", first),
        ("/v1/x", first),
        ("/v1/y", first),
        ("/v1/x", second),
        ("/v1/x", first),
    ]
    assert heads[0] is heads[1] is heads[4]


async def test_a_new_token_makes_a_new_head() -> None:
    sets: list[Headers] = [((b"authorization", b"old"),)]
    upstream, transport = client(sets)

    await upstream.post("/x", b"{}", 0, TIMEOUTS)
    sets[0] = ((b"authorization", b"new"),)
    await upstream.post("/x", b"{}", 0, TIMEOUTS)

    assert [request.head.headers for request in transport.requests] == [
        ((b"authorization", b"old"),),
        ((b"authorization", b"new"),),
    ]


async def test_a_head_is_of_one_deployment() -> None:
    upstream, transport = client([()], targets=AzureTargets("/openai", "2026-01-01"))

    for deployment in ("one", "two", "one"):
        await upstream.post("/x", b"{}", 0, TIMEOUTS, deployment=deployment)

    assert [request.head.target.split("/")[3] for request in transport.requests] == ["one", "two", "one"]


async def test_what_tells_of_a_trace_is_of_one_call_alone() -> None:
    upstream, transport = client([()], trace_context=True)
    silent, beside = client([()])

    for each in (upstream, silent):
        await each.post("/x", b"{}", 0, TIMEOUTS, TRACE)
        await each.post("/x", b"{}", 0, TIMEOUTS)

    assert [request.more for request in transport.requests] == [TRACE.headers(), ()]
    assert [request.more for request in beside.requests] == [(), ()]
    assert transport.requests[0].head is transport.requests[1].head
