"""Where calls go is the configuration's word alone, and what comes back with them is picked, not passed."""

import json
from typing import Any

import pytest

from tests.integration.dataplane.conftest import FT, StartGateway
from tests.support.client import HI, Client, client_of, raw
from tests.support.fake_upstream import FakeUpstream, running_upstream
from tests.support.gateway import RunningGateway

OURS = {"date", "content-type", "content-length", "transfer-encoding", "x-content-type-options"}
OFFICIAL = {"x-request-id", "openai-processing-ms", "cache-control", "x-accel-buffering", "connection"}
TRAPS = {
    "set-cookie": "session=stolen",
    "server": "upstream/1",
    "location": "http://127.0.0.1:1/",
    "x-request-id": "req_theirs",
    "openai-organization": "acme-internal",
    "openai-version": "a text of theirs",
    "x-ratelimit-limit-requests": "77777",
    "x-tunegate-upstream": "forged",
    "access-control-allow-origin": "*",
    "content-security-policy": "default-src *",
    "strict-transport-security": "max-age=1",
    "x-own": "1",
    "trailer": "x-own",
}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(start_gateway: StartGateway, status: int) -> None:
    async with running_upstream() as upstream, running_upstream() as elsewhere:
        gateway = await start_gateway(
            {"openai": {"base_url": upstream.url, "api_keys": ["sk-one"], "owns": ["acme"]}},
            {"support": {"model": FT}},
        )
        target = {"location": f"{elsewhere.url}/chat/completions"}
        upstream.answers(FT, b"", status, target)
        upstream.answers(FT, b"", status, target)
        upstream.answers(FT, b"", status, target)
        async with client_of(gateway.url, await gateway.new_key()) as client:
            answer = await client.chat()
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_error")
        assert "location" not in answer.headers
        assert elsewhere.url not in answer.text
        assert upstream.calls != []
        assert elsewhere.calls == []


async def test_nothing_that_a_caller_sends_names_a_destination(
    gateway: RunningGateway, client: Client, upstream: FakeUpstream
) -> None:
    async with running_upstream() as elsewhere:
        host = elsewhere.url.removeprefix("http://").removesuffix("/v1")
        body: dict[str, Any] = {
            "base_url": elsewhere.url,
            "api_base": elsewhere.url,
            "upstream": elsewhere.url,
            "organization": "other",
        }
        headers = {
            "x-forwarded-host": host,
            "forwarded": f"host={host}",
            "x-original-url": elsewhere.url,
            "x-rewrite-url": elsewhere.url,
            "x-upstream": elsewhere.url,
            "openai-base-url": elsewhere.url,
            "x-tunegate-upstream": elsewhere.url,
        }
        pinned = await client.chat(headers=headers, **body)
        assert pinned.status_code == 403
        del headers["x-tunegate-upstream"]
        assert (await client.chat(headers=headers, **body)).status_code == 200

        content = json.dumps({"model": "support", "messages": HI}).encode()
        common = f"authorization: {client.headers['authorization']}\r\ncontent-length: {len(content)}\r\n"
        for target, given in (
            (f"{elsewhere.url}/chat/completions", host),
            ("/v1/chat/completions", host),
        ):
            head = f"POST {target} HTTP/1.1\r\nhost: {given}\r\nconnection: close\r\n{common}\r\n"
            assert (await raw(gateway.port, head.encode() + content)).startswith(b"HTTP/1.1 200 ")
        refused = await raw(gateway.port, f"CONNECT {host} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
        assert refused.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 401 "))
        assert elsewhere.calls == []
    assert len(upstream.calls) == 3
    for call in upstream.calls:
        assert call.headers["host"] == upstream.url.removeprefix("http://").removesuffix("/v1")
        assert call.path == "/v1/chat/completions"


async def test_of_an_upstreams_headers_none_reaches_the_caller(
    client: Client, upstream: FakeUpstream
) -> None:
    plain = await client.chat()
    model = {
        "object": "chat.completion",
        "choices": [],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    }
    upstream.answers(FT, model, headers=TRAPS)
    upstream.refuses(FT, 400, headers=TRAPS)
    trapped = await client.chat()
    refused = await client.chat()
    assert (trapped.status_code, refused.status_code) == (200, 400)
    for answer in (plain, trapped, refused):
        names = {name for name in answer.headers if not name.startswith(("x-tunegate-", "x-ratelimit-"))}
        assert names <= OURS | OFFICIAL | {"retry-after", "retry-after-ms", "x-should-retry"}
        for name, value in TRAPS.items():
            assert answer.headers.get(name) != value, name
