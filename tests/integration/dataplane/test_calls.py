"""Calls that succeed: bytes both ways, headers, models."""

import json
from typing import Any

import pytest

from tests.integration.dataplane.conftest import BASE, FT
from tests.support.client import HI, Client, client_of
from tests.support.fake_upstream import FakeUpstream, done, finish, role, text, usage
from tests.support.gateway import RunningGateway


class TestJson:
    async def test_an_alias_is_served_by_its_first_target(
        self, client: Client, upstream: FakeUpstream
    ) -> None:
        reply = await client.chat()

        assert reply.status_code == 200, reply.text
        assert reply.json()["choices"][0]["message"]["content"] == "Hello"
        [call] = upstream.calls
        assert call.path == "/v1/chat/completions"
        assert call.json == {"model": FT, "messages": HI}

    async def test_headers_tell_who_served(self, client: Client) -> None:
        headers = (await client.chat()).headers

        assert headers["x-request-id"].startswith("req_")
        assert headers["x-tunegate-alias"] == "support"
        assert headers["x-tunegate-model"] == FT
        assert headers["x-tunegate-upstream"] == "openai"
        assert headers["x-tunegate-release"] == "support@1/stable"
        assert headers["x-tunegate-attempts"] == "1"
        assert headers["x-tunegate-fallback"] == "none"
        assert float(headers["x-tunegate-overhead-ms"]) >= 0
        assert headers["content-type"] == "application/json"

    async def test_every_field_passes_both_ways(self, client: Client, upstream: FakeUpstream) -> None:
        fields: dict[str, Any] = {
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
            "n": 2,
            "logprobs": True,
            "top_logprobs": 2,
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}],
                }
            ],
            "made_up": {"deep": [None, True, 1.5, "é\u2028"]},
        }
        answer = {
            "id": "x",
            "choices": [{"index": 0, "logprobs": {"content": []}}],
            "made_up_too": [1],
            "usage": None,
        }
        upstream.answers(FT, answer)

        reply = await client.chat(**fields)

        assert upstream.calls[0].json == {"model": FT} | fields
        assert reply.json() == answer

    async def test_a_reply_passes_byte_for_byte(self, client: Client, upstream: FakeUpstream) -> None:
        odd = b'{ "choices" : [] ,\n "big":123456789012345678901234567890, "e":1E5, "s":"\\u00e9" }'
        upstream.answers(FT, odd)

        assert (await client.chat()).content == odd

    async def test_nothing_of_the_callers_headers_goes_along(
        self, client: Client, upstream: FakeUpstream
    ) -> None:
        await client.chat(
            headers={"openai-organization": "org", "cookie": "a=b", "x-tunegate-session": "s", "x-own": "1"}
        )

        sent = upstream.calls[0].headers
        assert sent["authorization"] == "Bearer sk-one"
        assert not {"openai-organization", "cookie", "x-own", "x-tunegate-session"} & set(sent)

    async def test_a_raw_model_id(self, client: Client, upstream: FakeUpstream) -> None:
        reply = await client.chat(model="accounts/a/models/b#c")

        assert upstream.calls[0].json["model"] == "accounts/a/models/b#c"
        assert "x-tunegate-alias" not in reply.headers

    async def test_completions_and_embeddings(self, client: Client, upstream: FakeUpstream) -> None:
        completion = await client.post("/v1/completions", {"model": "support", "prompt": "hi"})
        embedding = await client.post("/v1/embeddings", {"model": "e", "input": ["hi"]})

        assert [call.path for call in upstream.calls] == ["/v1/completions", "/v1/embeddings"]
        assert completion.json()["choices"][0]["text"] == "Hello"
        assert embedding.json()["data"][0]["embedding"] == [0.5, -0.5]

    async def test_connections_are_used_again(self, client: Client, upstream: FakeUpstream) -> None:
        for _ in range(5):
            await client.chat()
            await client.chat(stream=True)

        assert len(upstream.calls) == 10
        assert upstream.open_connections == 1


class TestStreams:
    async def test_events_pass_and_done_ends_them(self, client: Client) -> None:
        reply = await client.chat(stream=True)

        assert reply.content == role() + text("Hel") + text("lo") + finish() + done()
        assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert reply.headers["cache-control"] == "no-cache"
        assert reply.headers["x-accel-buffering"] == "no"
        assert reply.headers["x-tunegate-upstream"] == "openai"

    async def test_usage_is_always_asked_for_and_handed_on_where_wanted(
        self, client: Client, upstream: FakeUpstream, gateway: RunningGateway
    ) -> None:
        without = await client.chat(stream=True)
        with_usage = await client.chat(stream=True, stream_options={"include_usage": True})

        assert usage() not in without.content
        assert with_usage.content.endswith(usage() + done())
        assert all(call.json["stream_options"]["include_usage"] for call in upstream.calls)
        lines = await gateway.access_lines(2)
        assert [(line["prompt_tokens"], line["completion_tokens"]) for line in lines] == [(7, 2), (7, 2)]

    @pytest.mark.parametrize("end", [done(), b""])
    async def test_done_leaves_once_whether_it_came_or_not(
        self, client: Client, upstream: FakeUpstream, end: bytes
    ) -> None:
        upstream.plays(FT, role(), text("x"), finish(), end)

        assert (await client.chat(stream=True)).content == role() + text("x") + finish() + done()


class TestModels:
    async def test_the_list_has_aliases_and_known_models(
        self, start_gateway: Any, upstream: FakeUpstream
    ) -> None:
        gateway = await start_gateway(
            {"a": {"base_url": upstream.url, "models": ["m", "glob-*"], "owns": ["acme"]}},
            {"support": {"model": FT, "fallbacks": ["base"]}},
        )
        async with client_of(gateway.url, await gateway.new_key()) as client:
            listed = (await client.get("/v1/models")).json()

        assert [row["id"] for row in listed["data"]] == ["support", "m"]
        assert listed["object"] == "list"
        assert listed["data"][0] == {
            "id": "support",
            "object": "model",
            "created": listed["data"][0]["created"],
            "owned_by": "tunegate",
            "shutdown_date": None,
            "tunegate": {"alias": "support", "target": FT, "upstreams": ["a"], "fallbacks": []},
        }

    @pytest.mark.parametrize(
        "path", [FT, FT.replace(":", "%3A"), "support", "accounts/a/models/b", "accounts%2Fa%2Fmodels%2Fb"]
    )
    async def test_ids_with_colons_and_slashes_escaped_or_not(self, client: Client, path: str) -> None:
        reply = await client.get(f"/v1/models/{path}")

        assert reply.status_code == 200
        assert reply.json()["id"] == path.replace("%3A", ":").replace("%2F", "/")

    async def test_the_base_of_a_fine_tune_is_its_fallback(self, client: Client) -> None:
        assert (await client.get("/v1/models/support")).json()["tunegate"]["fallbacks"] == [BASE]

    async def test_an_unknown_model(self, client: Client) -> None:
        reply = await client.get("/v1/models/ft:gpt-4o:nobody::x")

        assert reply.status_code == 404
        assert reply.json()["error"]["code"] == "model_not_found"


class TestAccessLog:
    async def test_one_line_tells_the_story(self, client: Client, gateway: RunningGateway) -> None:
        reply = await client.chat(headers={"x-request-id": "mine"})

        [line] = await gateway.access_lines(1)
        assert line["request_id"] == reply.headers["x-request-id"] != "mine"
        assert line["client_request_id"] == "mine"
        assert line["upstream_request_id"] == "req_upstream"
        assert (line["alias"], line["model"], line["upstream"]) == ("support", FT, "openai")
        assert (line["status"], line["attempts"]) == (200, 1)
        assert "error_type" not in line
        assert "tg-" not in json.dumps(line)
