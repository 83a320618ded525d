"""Attempts: who is asked next, for what, and what the caller is told when nobody serves."""

import asyncio
import time
from typing import Any

import pytest

from gateway.domain.errors import AttemptFailed, FailureClass
from gateway.routing.health import CREDENTIAL
from tests.integration.dataplane.conftest import BASE, FT, StartGateway
from tests.support.client import Client, client_of
from tests.support.fake_upstream import FakeUpstream, done, drop, event, finish, role, stall, text
from tests.support.gateway import RunningGateway

STREAMED = (role(), text("x"), finish(), done())


def served_by(reply: Any) -> tuple[str, str, str, str]:
    assert reply.status_code == 200, reply.text
    names = ("upstream", "model", "attempts", "fallback")
    upstream, model, attempts, fallback = (reply.headers[f"x-tunegate-{name}"] for name in names)
    return upstream, model, attempts, fallback


REFUSALS = [
    ({"status": 500}, "server_error"),
    ({"status": 503, "code": "server_is_overloaded"}, "server_error"),
    ({"status": 429, "code": "rate_limit_exceeded"}, "rate_limited"),
    ({"status": 429, "code": "insufficient_quota"}, "credential"),
    ({"status": 401, "code": "invalid_api_key"}, "credential"),
    ({"status": 402, "code": None}, "credential"),
    ({"status": 403, "code": "unsupported_country_region_territory"}, "credential"),
    ({"status": 403, "code": "model_not_found"}, "model_not_found"),
    ({"status": 404, "code": "model_not_found"}, "model_not_found"),
    ({"status": 404, "code": "DeploymentNotFound"}, "model_not_found"),
    ({"status": 302, "code": None}, "bad_response"),
]


class TestMovingOn:
    @pytest.mark.parametrize(("refusal", "failure"), REFUSALS)
    @pytest.mark.parametrize("stream", [False, True])
    async def test_a_refusal_moves_on_and_is_told(
        self, client: Client, upstream: FakeUpstream, refusal: dict[str, Any], failure: str, stream: bool
    ) -> None:
        upstream.refuses(FT, **refusal)

        reply = await client.chat(stream=stream)

        assert served_by(reply) == ("relay", FT, "2", failure)

    async def test_down_to_the_base_when_the_fine_tune_is_gone(
        self, client: Client, upstream: FakeUpstream, relay: FakeUpstream
    ) -> None:
        upstream.refuses(FT, 404, "model_not_found")
        relay.refuses(FT, 404, "model_not_found")

        assert served_by(await client.chat()) == ("openai", BASE, "3", "model_not_found")
        assert upstream.calls[-1].json["model"] == BASE

    @pytest.mark.parametrize(
        "body",
        [
            b"<html>",
            b"",
            b"{",
            b"[]",
            b'{"error":{"message":"no"}}',
            b'{"object":"error","message":"no"}',
            b'{"detail":"no"}',
        ],
    )
    async def test_a_200_that_is_no_answer(self, client: Client, upstream: FakeUpstream, body: bytes) -> None:
        upstream.answers(FT, body)

        assert served_by(await client.chat()) == ("relay", FT, "2", "bad_response")

    @pytest.mark.parametrize(
        ("steps", "content_type"),
        [
            ((), "text/event-stream"),
            ((b"<html>",), "text/html"),
            ((b'{"error":{"message":"no"}}',), "application/json"),
            ((b'{"choices":[]}',), "application/json"),
            ((event({"error": {"message": "no"}}),), "text/event-stream"),
            ((role(), event({"error": {"message": "no"}})), "text/event-stream"),
            ((role(), done()), "text/event-stream"),
            ((role(), drop()), "text/event-stream"),
            ((role() * 2000,), "text/event-stream"),
        ],
    )
    async def test_a_stream_that_fails_before_its_content(
        self, client: Client, upstream: FakeUpstream, steps: Any, content_type: str
    ) -> None:
        upstream.plays(FT, *steps, content_type=content_type)

        reply = await client.chat(stream=True)

        assert served_by(reply) == ("relay", FT, "2", "bad_response")
        assert reply.content.endswith(done())

    async def test_nobody_listens(self, start_gateway: StartGateway, upstream: FakeUpstream) -> None:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        closed_port = server.sockets[0].getsockname()[1]
        server.close()
        gateway = await start_gateway(
            {"dead": {"base_url": f"http://127.0.0.1:{closed_port}/v1"}, "a": {"base_url": upstream.url}},
            {"support": {"model": "m", "upstreams": ["dead", "a"]}},
        )
        async with client_of(gateway.url, await gateway.new_key()) as client:
            assert served_by(await client.chat()) == ("a", "m", "2", "connect")

    async def test_no_content_in_time(
        self, start_gateway: StartGateway, upstream: FakeUpstream, relay: FakeUpstream
    ) -> None:
        gateway = await start_gateway(
            {
                "slow": {"base_url": upstream.url, "timeouts": {"first_token_s": 0.2}},
                "a": {"base_url": relay.url},
            },
            {"support": {"model": "m", "upstreams": ["slow", "a"]}},
        )
        upstream.plays("m", role(), stall())
        async with client_of(gateway.url, await gateway.new_key()) as client:
            assert served_by(await client.chat(stream=True)) == ("a", "m", "2", "timeout")
        await asyncio.wait_for(upstream.calls[0].closed.wait(), 1)

    async def test_a_class_that_is_not_named_does_not_move_on(
        self, start_gateway: StartGateway, upstream: FakeUpstream, relay: FakeUpstream
    ) -> None:
        gateway = await start_gateway(
            {"a": {"base_url": upstream.url}, "b": {"base_url": relay.url}},
            {"support": {"model": "m", "upstreams": ["a", "b"], "fallback_on": ["timeout"]}},
        )
        upstream.refuses("m", 500, times=3)
        async with client_of(gateway.url, await gateway.new_key()) as client:
            assert (await client.chat()).status_code == 502
        assert (len(upstream.calls), relay.calls) == (3, [])

    async def test_never_where_the_caller_says_so(
        self, client: Client, upstream: FakeUpstream, relay: FakeUpstream
    ) -> None:
        upstream.refuses(FT, 500, times=3)

        reply = await client.chat(headers={"x-tunegate-fallback": "never"})

        assert reply.status_code == 502
        assert (len(upstream.calls), relay.calls) == (3, [])


class TestTheCallersOwnMistakes:
    @pytest.mark.parametrize("status", [400, 413, 422])
    async def test_pass_as_they_are_and_do_not_move_on(
        self, client: Client, upstream: FakeUpstream, relay: FakeUpstream, status: int
    ) -> None:
        upstream.refuses(FT, status, "context_length_exceeded", "Too long.", param="messages")

        reply = await client.chat()

        assert reply.status_code == status
        assert reply.json()["error"] == {
            "message": "Too long.",
            "type": "invalid_request_error",
            "param": "messages",
            "code": "context_length_exceeded",
        }
        assert relay.calls == []

    async def test_odd_shapes_come_in_the_official_one(self, client: Client, upstream: FakeUpstream) -> None:
        upstream.answers(
            FT, {"object": "error", "message": "bad", "type": "BadRequest", "param": "", "code": 400}, 400
        )

        error = (await client.chat()).json()["error"]

        assert error == {"message": "bad", "type": "BadRequest", "param": None, "code": "400"}

    async def test_a_404_of_another_kind_passes(self, client: Client, upstream: FakeUpstream) -> None:
        upstream.refuses(FT, 404, None, "This is not a chat model.", param="model")

        reply = await client.chat()

        assert (reply.status_code, reply.json()["error"]["code"]) == (404, None)


class TestNobodyServes:
    async def fail_with(
        self, client: Client, upstream: FakeUpstream, relay: FakeUpstream, *refusals: tuple[int, str | None]
    ) -> Any:
        for (status, code), (where, model) in zip(
            refusals, [(upstream, FT), (relay, FT), (upstream, BASE)], strict=True
        ):
            where.refuses(model, status, code, times=3)
        reply = await client.chat()
        error = reply.json()["error"]
        return reply.status_code, error["type"], error["code"]

    async def test_gone_everywhere(self, client: Client, upstream: FakeUpstream, relay: FakeUpstream) -> None:
        gone = (404, "model_not_found")

        assert await self.fail_with(client, upstream, relay, gone, gone, gone) == (
            404,
            "invalid_request_error",
            "model_not_found",
        )

    async def test_rate_limited_everywhere(
        self, client: Client, upstream: FakeUpstream, relay: FakeUpstream
    ) -> None:
        full = (429, "rate_limit_exceeded")

        assert await self.fail_with(client, upstream, relay, full, full, full) == (
            429,
            "requests",
            "rate_limit_exceeded",
        )

    @pytest.mark.parametrize("status", [401, 402, 500, 302])
    async def test_anything_else_is_a_bad_gateway(
        self, client: Client, upstream: FakeUpstream, relay: FakeUpstream, status: int
    ) -> None:
        others = [(429, "rate_limit_exceeded"), (404, "model_not_found"), (status, None)]

        assert await self.fail_with(client, upstream, relay, *others) == (
            502,
            "server_error",
            "upstream_error",
        )

    async def test_too_late_everywhere(self, client: Client, upstream: FakeUpstream) -> None:
        upstream.plays(FT, stall())

        reply = await client.chat(
            stream=True, headers={"x-tunegate-timeout-s": "0.2", "x-tunegate-fallback": "never"}
        )

        assert (reply.status_code, reply.json()["error"]["code"]) == (504, "upstream_timeout")

    async def test_the_upstreams_prose_and_keys_stay_inside(
        self, client: Client, upstream: FakeUpstream
    ) -> None:
        upstream.refuses(FT, 401, "invalid_api_key", "Incorrect API key provided: sk-one.")

        reply = await client.chat(headers={"x-tunegate-fallback": "never"})

        assert reply.status_code == 502
        assert "sk-one" not in reply.text


class TestCredentials:
    @pytest.fixture
    async def two(self, start_gateway: StartGateway, upstream: FakeUpstream) -> RunningGateway:
        return await start_gateway(
            {"a": {"base_url": upstream.url, "api_keys": ["sk-0", "sk-1"]}}, {"support": {"model": "m"}}
        )

    async def test_take_turns(self, two: RunningGateway, upstream: FakeUpstream) -> None:
        async with client_of(two.url, await two.new_key()) as client:
            for _ in range(4):
                await client.chat()

        used = [call.headers["authorization"][-1] for call in upstream.calls]
        assert used == ["0", "1", "0", "1"]

    async def test_one_that_is_refused_is_set_aside_and_the_other_serves(
        self, two: RunningGateway, upstream: FakeUpstream
    ) -> None:
        upstream.refuses("m", 401, "invalid_api_key")
        async with client_of(two.url, await two.new_key()) as client:
            replies = [await client.chat() for _ in range(3)]

        assert [reply.status_code for reply in replies] == [200] * 3
        assert replies[0].headers["x-tunegate-attempts"] == "2"
        assert [call.headers["authorization"][-1] for call in upstream.calls] == ["0", "1", "1", "1"]
        assert two.worker.health_report()["a"]["set_aside"] == [0]

    async def test_none_left_is_no_upstream(self, two: RunningGateway) -> None:
        refused = AttemptFailed(FailureClass.CREDENTIAL, "no")

        def refuse(when: float) -> None:
            for credential in (0, 1):
                two.worker.health.failed("a", credential, "m", refused, when)

        async with client_of(two.url, await two.new_key()) as client:
            refuse(time.monotonic() - CREDENTIAL.rest_s)
            assert (await client.chat()).status_code == 200  # the rest is over
            refuse(time.monotonic())
            assert (await client.chat()).json()["error"]["code"] == "no_upstream"


async def test_a_full_upstream_is_passed_over(
    start_gateway: StartGateway, upstream: FakeUpstream, relay: FakeUpstream
) -> None:
    gateway = await start_gateway(
        {"a": {"base_url": upstream.url, "max_concurrency": 1}, "b": {"base_url": relay.url}},
        {"support": {"model": "m", "upstreams": ["a", "b"]}},
    )
    upstream.plays("m", role(), text("x"), stall())
    async with client_of(gateway.url, await gateway.new_key()) as client:
        async with client.stream() as held:
            assert held.headers["x-tunegate-upstream"] == "a"
            assert served_by(await client.chat()) == ("b", "m", "1", "rate_limited")
        deadline = asyncio.get_running_loop().time() + 2
        while gateway.worker.health.in_flight("a"):
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.005)
        assert served_by(await client.chat()) == ("a", "m", "1", "none")
